"""manifest.json beside a checkpoint: every file with its size and SHA-256, and the revision that they are of.

`firstread models pin` writes it once after a download, and takes digests and revision from what the hub itself stated:
`hf download --local-dir` leaves, below .cache/huggingface/download, a file for each with the commit and the ETag,
which is the SHA-256 of a large file and Git's blob SHA-1 of a small one. From then on only these very files load.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from models.checkpoints.known import HAI_DEF, KnownModel
from worklist.errors import InvalidInput, ModelUnavailable

MANIFEST_FILE: Final = "manifest.json"
MADE_HERE: Final = "firstread"  # the folder beside the checkpoint for what Firstread computes from it
ADAPTER: Final = "adapter"  # the folder beside the checkpoint for what a site trained on it
STAND_IN: Final = "stand-in"  # instead of a revision: random weights

_WEIGHTS = ".safetensors"
_NOT_LOADED = {MANIFEST_FILE, "README.md", "LICENSE"}
_THE_SITES_OWN = {"prompts.json", "probe.json", "probe.npz", "contrast.json", "contrast.npz", "card.json"}
_HUB = Path(".cache") / "huggingface" / "download"
_SHA1_LENGTH = 40
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True, slots=True)
class PinnedFile:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """What a checkpoint consists of.

    Attributes:
        model: its name, as in KnownModel.
        repository: on the hub.
        revision: the commit there, or "stand-in" for random weights made on the spot.
        licence: the terms it is under.
        files: by name.
    """

    model: str
    repository: str
    revision: str
    licence: str
    files: Mapping[str, PinnedFile]

    @property
    def is_stand_in(self) -> bool:
        """Whether the weights are random, so that nothing they say means anything."""
        return self.revision == STAND_IN

    @property
    def sha256(self) -> str:
        """One digest of the weights: that of their only file, or of the list of those of several."""
        digests = [file.sha256 for name, file in sorted(self.files.items()) if name.endswith(_WEIGHTS)]
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def short_revision(self) -> str:
        """The first seven digits of the commit."""
        return STAND_IN if self.is_stand_in else self.revision[:7]


def read_manifest(folder: Path, model: KnownModel) -> Manifest:
    """The manifest in a folder.

    Raises:
        ModelUnavailable: not_pinned, manifest_invalid, or another_model.
    """
    file = folder / MANIFEST_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        files = {str(name): PinnedFile(**entry) for name, entry in values.pop("files").items()}
        manifest = Manifest(files=files, **values)
    except OSError as error:
        raise ModelUnavailable(
            "not_pinned", f"{folder} has no {MANIFEST_FILE}: run firstread models pin {model.name} after the download"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(
            "manifest_invalid", f"{file} is no manifest ({error}): remove it and run firstread models pin {model.name}"
        ) from error
    if manifest.model != model.name:
        raise ModelUnavailable("another_model", f"{folder} holds {manifest.model}, not {model.name}: move it")
    if lacking := _lacking(manifest.files, model):
        raise ModelUnavailable("manifest_invalid", f"{file} lists no {lacking}: download and pin {model.name} again")
    return manifest


def verified(folder: Path, model: KnownModel) -> Manifest:
    """The manifest of a folder that holds exactly its files; it reads every byte of them.

    Raises:
        ModelUnavailable: as read_manifest, or file_missing, file_size, file_digest, file_unknown.
    """
    manifest = read_manifest(folder, model)
    again = f"download {model.repository} again, or pin it if the change is meant"
    for name, pinned in manifest.files.items():
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise ModelUnavailable("file_missing", f"{folder / name} is missing: {again}") from error
        if size != pinned.size:
            raise ModelUnavailable("file_size", f"{folder / name} has {size} bytes, not {pinned.size}: {again}")
    if strangers := sorted(set(_files(folder)) - set(manifest.files)):
        raise ModelUnavailable(
            "file_unknown",
            f"{folder / strangers[0]} is not in {MANIFEST_FILE}, yet might be loaded: remove it, or pin {model.name}",
        )
    for name, pinned in manifest.files.items():
        found = digest_of(folder / name)
        if found != pinned.sha256:
            raise ModelUnavailable(
                "file_digest", f"{folder / name} has SHA-256 {found[:12]}, not {pinned.sha256[:12]}: {again}"
            )
    return manifest


def pin(folder: Path, model: KnownModel, revision: str = "") -> Manifest:
    """Write the manifest of a download, after holding each file against what the hub stated of it.

    Args:
        folder: the checkpoint's.
        model: which it is.
        revision: the commit, or "stand-in"; may be left out where the hub's own notes lie in the folder.

    Raises:
        InvalidInput: incomplete_download, damaged_download, bad_revision, unknown_revision or mixed_revisions.
    """
    files = {
        name: PinnedFile(size=(folder / name).stat().st_size, sha256=digest_of(folder / name))
        for name in _files(folder)
    }
    if lacking := _lacking(files, model):
        raise InvalidInput("incomplete_download", f"{folder} has no {lacking}: run {model.download}")
    stated = {name: note for name in files if (note := _hub_note(folder, name))}
    for name, (_, etag) in stated.items():
        found = _blob_sha1(folder / name) if len(etag) == _SHA1_LENGTH else files[name].sha256
        if found != etag:
            raise InvalidInput(
                "damaged_download", f"{folder / name} is not the file that the hub states: run {model.download} again"
            )
    if revision and revision != STAND_IN and not _COMMIT.fullmatch(revision):
        raise InvalidInput("bad_revision", f"{revision!r} is no commit: give its 40 hexadecimal digits")
    revisions = {commit for commit, _ in stated.values()} | ({revision} if revision else set())
    if not revisions:
        raise InvalidInput(
            "unknown_revision", f"{folder} does not say which revision it is: give the hub's commit as --revision"
        )
    if len(revisions) > 1:
        raise InvalidInput(
            "mixed_revisions", f"{folder} holds files of {' and '.join(sorted(revisions))}: download one revision"
        )
    manifest = Manifest(
        model=model.name, repository=model.repository, revision=revisions.pop(), licence=HAI_DEF, files=files
    )
    document = json.dumps(asdict(manifest), indent=2, sort_keys=True) + "\n"
    (folder / MANIFEST_FILE).write_text(document, encoding="utf-8")
    return manifest


def digest_of(file: Path) -> str:
    """SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    """What a loader might read: every file but notes, what Firstread or the site made, and what is hidden."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and path.name not in _NOT_LOADED | _THE_SITES_OWN
        and not re.match(rf"\.|({MADE_HERE}|{ADAPTER})/", path.relative_to(folder).as_posix())
    )


def _lacking(files: Mapping[str, Any], model: KnownModel) -> str:
    """The first needed file that is not there; empty where all are."""
    lacking = [name for name in model.needed if name not in files]
    if not any(name.endswith(_WEIGHTS) for name in files):
        lacking.append(f"*{_WEIGHTS}")
    return lacking[0] if lacking else ""


def _hub_note(folder: Path, name: str) -> tuple[str, str] | None:
    """(commit, ETag) of a downloaded file; None where nothing was noted."""
    try:
        commit, etag, *_ = (folder / _HUB / f"{name}.metadata").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    return commit.strip(), etag.strip()


def _blob_sha1(file: Path) -> str:
    """Git's digest of a file: how the hub names what is not in large file storage."""
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
