"""Every UID that Firstread writes, derived from what the object was made of."""

from __future__ import annotations

import uuid
from typing import Final

from worklist.uids import name_based_uid

_NAMESPACE: Final = uuid.UUID("6f2b6a1e-7c0b-5b0e-9a3d-1f9d2c7e4a55")  # fixed for ever: it seeds every UID


def derive_uid(*parts: str | int) -> str:
    """A UID of the form 2.25.<integer> (PS3.5 section B.2), the same for the same parts.

    It is the version 5 (name-based) UUID of the parts, written as JSON-like text that keeps their borders apart.
    """
    name = "\x1f".join(f"{len(str(part))}:{part}" for part in parts)
    return name_based_uid(_NAMESPACE, name)
