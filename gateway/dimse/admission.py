"""Who may open an association: which addresses, which AE titles, and how many at one time."""

from __future__ import annotations

import ipaddress
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from worklist.errors import InvalidInput

_LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
_ANYBODY: Final = "*"
_LONGEST_TITLE: Final = 16  # PS3.5 section 6.2, VR AE
_TO_BE_REFUSED: Final = 8  # connections beyond the limits, so that they can be told why they are refused


@dataclass(frozen=True, kw_only=True, slots=True)
class _Peer:
    """An AE title, or anybody, at an address or network, or anywhere."""

    title: str
    network: IPv4Network | IPv6Network | None

    def is_at(self, address: str) -> bool:
        return self.network is None or _address(address) in self.network


class Admission:
    """Lets in whom the site names, as many as there is room for. Safe for use by several threads.

    Args:
        peers: "TITLE", "TITLE@ADDRESS", "TITLE@NETWORK" or "*@NETWORK" each; where there are none, this machine alone
            may come in.
        most: associations at one time.
        most_of_one: of these, from one address.

    Raises:
        InvalidInput: bad_dimse_peers.
    """

    def __init__(self, peers: Iterable[str] = (), *, most: int = 20, most_of_one: int = 5) -> None:
        named = [_peer(text.strip()) for text in peers if text.strip()]
        self._peers = named or [_peer(f"{_ANYBODY}@{network}") for network in _LOOPBACK]
        self._most, self._most_of_one = most, most_of_one
        self._lock = threading.Lock()
        self._inside: Counter[str] = Counter()

    def is_named(self, address: str) -> bool:
        """Whether anybody at all may call from an address."""
        return any(peer.is_at(address) for peer in self._peers)

    def enter(self, address: str) -> bool:
        """Let somebody in, if only to be told that it is too many; whoever came in leaves some day."""
        if not self.is_named(address):
            return False
        with self._lock:
            is_too_many = self._inside.total() >= self._most + _TO_BE_REFUSED
            if is_too_many or self._inside[address] >= self._most_of_one + _TO_BE_REFUSED // 2:
                return False
            self._inside[address] += 1
            return True

    def leave(self, address: str) -> None:
        """Give a place back."""
        with self._lock:
            self._inside[address] -= 1
            if self._inside[address] <= 0:
                del self._inside[address]

    def is_full(self, address: str) -> bool:
        """Whether one who came in is one too many."""
        with self._lock:
            return self._inside.total() > self._most or self._inside[address] > self._most_of_one

    def is_known(self, title: str, address: str) -> bool:
        """Whether an AE title may call from an address."""
        return any(peer.title in {_ANYBODY, title.strip()} and peer.is_at(address) for peer in self._peers)


def is_title(text: str) -> bool:
    """Whether a text can be an AE title (PS3.5 section 6.2)."""
    return 1 <= len(text) <= _LONGEST_TITLE and text.isascii() and text.isprintable() and "\\" not in text


def _peer(text: str) -> _Peer:
    title, at, place = text.partition("@")
    title, place = title.strip(), place.strip()
    try:
        network = ipaddress.ip_network(place, strict=False) if at else None
    except ValueError as error:
        raise _bad(text, f"{place!r} is no address or network") from error
    if not is_title(title):
        raise _bad(text, "an AE title has 1 to 16 characters of ASCII")
    if title == _ANYBODY and network is None:
        raise _bad(text, 'anybody from anywhere is not let in: name a network, as in "*@10.1.0.0/16"')
    return _Peer(title=title, network=network)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    found = ipaddress.ip_address(text.partition("%")[0])
    return found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found


def _bad(text: str, fault: str) -> InvalidInput:
    return InvalidInput("bad_dimse_peers", f"FIRSTREAD_DIMSE_PEERS: {text!r}: {fault}")
