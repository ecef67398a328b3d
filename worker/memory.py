"""What a worker has freed, given back to the system once it is quiet.

The C library keeps the memory of the last image for the next one, tens of megabytes a process: right in a burst, and
waste for the rest of the day.
"""

from __future__ import annotations

import ctypes
import threading

_QUIET_S = 2.0


class FreedMemory:
    """Gives back what is free, each time that a while passes without work."""

    def __init__(self) -> None:
        self._timer: threading.Timer | None = None

    def give_back_soon(self) -> None:
        """Give back what is free, unless this is asked again before."""
        if self._timer:
            self._timer.cancel()
        self._timer = threading.Timer(_QUIET_S, _give_back)
        self._timer.daemon = True
        self._timer.start()


def _give_back() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
    if trim:
        trim(0)
