"""API keys of machines: a file of their digests, which is read again when it changes.

A key is 256 random bits. Nobody finds those from their SHA-256, so that a slow digest would protect nothing more and
cost each request.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import stat
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from gateway.access.actors import clean_name
from worklist.errors import InvalidInput
from worklist.roles import Role

PREFIX: Final = "firstread_"
KEY: Final = re.compile(f"{PREFIX}[A-Za-z0-9_-]{{43}}", re.ASCII)
_RANDOM_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyHolder:
    """Whose a key is.

    Attributes:
        name: of the machine.
        role: what it may do.
        sha256: of the key.
        made_at: when it was made, ISO 8601.
    """

    name: str
    role: Role
    sha256: str
    made_at: str


class ApiKeys:
    """The keys that are good now. Safe for use by several threads.

    Args:
        path: the file.

    Raises:
        InvalidInput: bad_api_keys_file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen = _stamp(path)
        self._holders = read_keys(path)

    def holder(self, key: str) -> KeyHolder | None:
        """Whose a key is; None where it is nobody's."""
        digest = hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
        found = None
        for one in self._current():  # each is compared, and in constant time: how long it takes tells nothing
            if hmac.compare_digest(one.sha256, digest):
                found = one
        return found

    def _current(self) -> Sequence[KeyHolder]:
        stamp = _stamp(self._path)
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._holders = read_keys(self._path)
            except InvalidInput as error:
                self._holders = ()
                structlog.get_logger().error("no API key is good any more", error=error.message)
        return self._holders


def read_keys(path: Path) -> Sequence[KeyHolder]:
    """The keys in a file.

    Raises:
        InvalidInput: bad_api_keys_file, it is missing, broken, or anybody on this machine may write into it.
    """
    try:
        if path.stat().st_mode & stat.S_IWOTH:
            raise _bad(path, "anybody on this machine may write into it: chmod 600")
        lines = path.read_text(encoding="utf-8").splitlines()
        holders = tuple(_holder(json.loads(line)) for line in lines if line.strip())
    except OSError as error:
        raise _bad(path, f"{error.strerror}: make one with firstread keys new") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _bad(path, f"it is not what firstread keys writes ({type(error).__name__})") from error
    if len({holder.name for holder in holders}) < len(holders):
        raise _bad(path, "two keys have one name")
    return holders


def make_key(path: Path, name: str, role: Role) -> str:
    """Add a key to a file, which need not exist; the key itself is kept nowhere.

    Raises:
        InvalidInput: bad_name, key_exists, or bad_api_keys_file.
    """
    holders = read_keys(path) if path.exists() else ()
    cleaned = clean_name(name)
    if not cleaned:
        raise InvalidInput("bad_name", "name the machine that the key is for")
    if any(holder.name == cleaned for holder in holders):
        raise InvalidInput("key_exists", f"{cleaned} has a key: firstread keys remove it first, or choose another name")
    key = PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    digest = hashlib.sha256(key.encode()).hexdigest()
    made_at = datetime.now(UTC).isoformat(timespec="seconds")
    _write(path, (*holders, KeyHolder(name=cleaned, role=role, sha256=digest, made_at=made_at)))
    return key


def remove_key(path: Path, name: str) -> None:
    """Have a key be good no longer.

    Raises:
        InvalidInput: no_such_key, or bad_api_keys_file.
    """
    holders = read_keys(path)
    left = tuple(holder for holder in holders if holder.name != name)
    if len(left) == len(holders):
        raise InvalidInput("no_such_key", f"{name} has no key: see firstread keys list")
    _write(path, left)


def _holder(told: dict[str, str]) -> KeyHolder:
    if not re.fullmatch("[0-9a-f]{64}", told["sha256"]):
        raise ValueError
    return KeyHolder(
        name=clean_name(told["name"]), role=Role(told["role"]), sha256=told["sha256"], made_at=told["made_at"]
    )


def _write(path: Path, holders: Sequence[KeyHolder]) -> None:
    partial = path.with_name(f".{path.name}.part")
    try:
        partial.unlink(missing_ok=True)
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
            file.writelines(f"{json.dumps(asdict(holder), ensure_ascii=False)}\n" for holder in holders)
        partial.replace(path)
    except OSError as error:
        raise _bad(path, f"it cannot be written: {error.strerror}") from error


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return (0, 0, 0)
    return (found.st_mtime_ns, found.st_size, found.st_ino)


def _bad(path: Path, fault: str) -> InvalidInput:
    return InvalidInput("bad_api_keys_file", f"FIRSTREAD_API_KEYS_FILE={path}: {fault}")
