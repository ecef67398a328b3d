"""What every answer and every request of the DICOMweb service is held to."""

from __future__ import annotations

import re
from typing import Final

from fastapi import Request

from gateway.problems import Problem

GUARDS: Final = {
    # What a stored object holds is never run as a page of ours, and no cache on the way keeps it.
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "private, no-cache",
}
_HOST = re.compile(r"([\w.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?", re.ASCII)


def require_host(request: Request) -> str:
    """The name by which the service was called, of which its addresses are made.

    Raises:
        Problem: 400, it cannot be one.
    """
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise Problem(400, "no usable Host", "the Host header must hold a name or address, and a port if need be")
    return host
