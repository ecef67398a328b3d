"""Loaded by each Python under libfaketime 0.9.10, which miscounts a sleep until a moment, as Python 3.11 sleeps."""

import select
import time
from typing import SupportsIndex


def _sleep(seconds: float | SupportsIndex, /) -> None:
    select.select([], [], [], float(seconds))


time.sleep = _sleep
