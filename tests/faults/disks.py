"""Small disks that a test can fill, and the clock of a machine that it can set."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

_BLOCK = bytes(65_536)
_LIBRARY = "faketime/libfaketime.so.1"


class NotPossibleHere(Exception):
    """This machine does not let us make the fault."""


class SmallDisk:
    """A folder that is a file system of its own, which can be full; it needs the right to mount.

    Args:
        folder: where it is mounted, empty.
        size_mb: how much it holds.
    """

    def __init__(self, folder: Path, size_mb: int) -> None:
        self._folder = folder
        self._ballast = folder / "ballast"
        command = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=0755", "tmpfs", str(folder)]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.returncode:
            raise NotPossibleHere(f"no disk can be mounted: {tried.stderr.strip()}")

    def fill(self) -> None:
        """Leave no byte."""
        with suppress(OSError), self._ballast.open("wb", buffering=0) as ballast:  # no space left
            while True:
                ballast.write(_BLOCK)
        with suppress(OSError), self._ballast.open("ab", buffering=0) as ballast:
            while True:
                ballast.write(b"0")

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Take it away, with all that is on it."""
        subprocess.run(["umount", "--lazy", str(self._folder)], check=True, capture_output=True)


class MachineClock:
    """The clock that the programs of one machine see (libfaketime); only what is asked for is moved, never a wait.

    Args:
        folder: where its file lies.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib").glob(f"*/{_LIBRARY}"))
        if not found:
            raise NotPossibleHere("libfaketime is not installed: run make setup")
        self._file = folder / "clock"
        self.set(timedelta(0))
        self.environment = {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # s; to read the file each time slows every program down
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    @property
    def python_path(self) -> str:
        """What Python has to load first under it."""
        return str(Path(__file__).parent / "faketime")

    def set(self, ahead: timedelta) -> None:
        """Let it be ahead of the true time, or behind it where negative."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{ahead.total_seconds():+.3f}", encoding="ascii")
        new.replace(self._file)
