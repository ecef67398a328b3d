"""UIDs that always belong to the same words: the form 2.25.<integer> of PS3.5 section B.2."""

from __future__ import annotations

import uuid


def name_based_uid(namespace: uuid.UUID, name: str) -> str:
    """The UID of a version 5 (name-based) UUID."""
    return f"2.25.{uuid.uuid5(namespace, name).int}"


def derived_uid(*words: str) -> str:
    """The UID that always belongs to these words."""
    return name_based_uid(uuid.NAMESPACE_OID, "/".join(words))


def device_uid(sha256: str) -> str:
    """A Device UID (0018,1002) that changes with the weights and with nothing else (IHE AIR 6.5.3.1)."""
    return derived_uid(sha256)
