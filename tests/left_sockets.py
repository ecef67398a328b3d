"""For files whose tests ask for associations that do not come about: pynetdicom drops their sockets without closing.

They are collected at the file's end, or else in whichever test comes next in this process, which would fail for it.
"""

from __future__ import annotations

from typing import Final

import pytest

LEFT_SOCKETS: Final = [
    pytest.mark.usefixtures("collected_sockets"),
    pytest.mark.filterwarnings(r"ignore:.*<(socket\.socket|ssl\.SSLSocket):pytest.PytestUnraisableExceptionWarning"),
]
"""The marks of such a file."""
