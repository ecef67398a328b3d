"""The names by which a certificate proves who a peer is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def names_in(certificate: Mapping[str, Any]) -> frozenset[str]:
    """The names in a verified certificate: common name, DNS names and addresses; none where nothing was verified.

    Args:
        certificate: as ssl.SSLSocket.getpeercert tells it.
    """
    subject = dict(pair for part in certificate.get("subject", ()) for pair in part)
    alternatives = [name for kind, name in certificate.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}]
    return frozenset(filter(None, (subject.get("commonName"), *alternatives)))
