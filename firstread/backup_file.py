"""The file of a backup: a ZIP archive of the database's copy and of what it is, each checked before it is believed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Final, Literal

from imaging.files import opened
from worklist.errors import InvalidInput

FORMAT: Final = 1
_MANIFEST, _COPY = "firstread-backup.json", "database"
_CHUNK = 1 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError, TypeError, NotImplementedError)


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a backup is.

    Attributes:
        format: of the file.
        firstread: the version that made it.
        revision: of the database's tables.
        made_at: the moment of which the copy is, ISO 8601.
        database: which database made the copy, and can take it.
        counts: rows by table.
        sha256: of the copy.
    """

    format: int
    firstread: str
    revision: str
    made_at: str
    database: Literal["sqlite", "postgresql"]
    counts: Mapping[str, int]
    sha256: str

    @property
    def words(self) -> str:
        """It in a line."""
        made_at = datetime.fromisoformat(self.made_at).astimezone()
        studies = self.counts.get("studies", 0)
        return (
            f"{studies:,} {'study' if studies == 1 else 'studies'}, revision {self.revision}, {made_at:%Y-%m-%d %H:%M}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Backup:
    """A backup whose copy is what was written."""

    path: Path
    manifest: Manifest

    @contextmanager
    def copy(self) -> Iterator[IO[bytes]]:
        """The copy of the database."""
        with zipfile.ZipFile(self.path) as archive, archive.open(_COPY) as stream:
            yield stream


def private(path: Path) -> Path:
    """A new, empty file that nobody else can read."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    return path


def digest_of(stream: IO[bytes]) -> str:
    """SHA-256 of all that follows."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def write_backup(path: Path, copy: Path, manifest: Manifest) -> None:
    """Write a new file, and have it on the disk.

    Args:
        path: the file, which does not exist.
        copy: of the database.
        manifest: what it is.
    """
    # PostgreSQL's copies are compressed already.
    method = zipfile.ZIP_DEFLATED if manifest.database == "sqlite" else zipfile.ZIP_STORED
    with private(path).open("wb") as file:
        with zipfile.ZipFile(file, "w", method) as archive:
            archive.writestr(_MANIFEST, json.dumps(asdict(manifest), indent=2))
            with copy.open("rb") as source, archive.open(_COPY, "w", force_zip64=True) as member:
                shutil.copyfileobj(source, member, _CHUNK)
        file.flush()
        os.fsync(file.fileno())


def open_backup(path: Path) -> Backup:
    """A backup, read through once.

    Raises:
        InvalidInput: not_a_backup; newer_backup; damaged_backup, something is missing or not what was written.
    """
    manifest = manifest_of(path)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(_COPY) as stream:
            found = digest_of(stream)
    except (OSError, *_BROKEN) as error:
        raise _damaged(path) from error
    if found != manifest.sha256:
        raise _damaged(path)
    return Backup(path=path, manifest=manifest)


def manifest_of(path: Path) -> Manifest:
    """What a backup says that it is.

    Raises:
        InvalidInput: unreadable_file, not_a_backup, newer_backup or damaged_backup.
    """
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            text = archive.read(_MANIFEST)
    except _BROKEN as error:
        raise InvalidInput(
            "not_a_backup", f"{path} is no backup of Firstread, or is cut off: take one that firstread backup finished"
        ) from error
    try:
        values = json.loads(text)
        if values["format"] > FORMAT:
            raise InvalidInput(
                "newer_backup",
                f"{path} was made by a newer Firstread ({values['firstread']}): install that to restore it",
            )
        return Manifest(**values)
    except _BROKEN as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> InvalidInput:
    return InvalidInput("damaged_backup", f"{path} is damaged: nothing was restored; take an older backup")
