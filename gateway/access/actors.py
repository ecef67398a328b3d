"""Who asks: a name from the proxy where the site signs its readers in there, or the name that a reader typed.

A name in a header is believed from a trusted proxy alone, since anybody can send one.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from starlette.requests import HTTPConnection

from worklist.errors import InvalidInput
from worklist.reading import Actor, ActorSource

HEADER: Final = "X-Remote-User"
LONGEST_NAME: Final = 64  # characters
_NO_PART_OF_A_NAME = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, halves of characters, line breaks


class Actors:
    """Tells who asks.

    Args:
        trusted_proxies: addresses and networks, such as "10.1.2.3" and "10.1.0.0/16", whose X-Remote-User is believed.

    Raises:
        InvalidInput: bad_trusted_proxies, one of them is neither.
    """

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        try:
            self._trusted: tuple[IPv4Network | IPv6Network, ...] = tuple(
                ipaddress.ip_network(proxy.strip()) for proxy in trusted_proxies if proxy.strip()
            )
        except ValueError as error:
            raise InvalidInput(
                "bad_trusted_proxies", f"FIRSTREAD_TRUSTED_PROXIES: {error}: give addresses or networks"
            ) from error

    def signed_in(self, connection: HTTPConnection) -> Actor | None:
        """Who is signed in at the proxy; None where no trusted proxy names anybody.

        Raises:
            InvalidInput: bad_name, the proxy's name is none, or there are two.
        """
        names = connection.headers.getlist(HEADER) if self.is_trusted(connection) else []
        if len(names) > 1:
            raise InvalidInput("bad_name", f"the proxy passes on a second {HEADER}: have it replace the caller's")
        name = clean_name(_text(names[0])) if names else ""
        return Actor(name=name, source=ActorSource.PROXY) if name else None

    def of(self, connection: HTTPConnection, typed: str | None) -> Actor:
        """Who asks for a change: whoever is signed in at the proxy, or else the name that was typed.

        Raises:
            InvalidInput: no_name, neither names anybody; bad_name.
        """
        actor = self.signed_in(connection)
        if actor:
            return actor
        name = clean_name(typed or "")
        if not name:
            raise InvalidInput("no_name", 'say who asks: {"by": "your name", ...}')
        return Actor(name=name, source=ActorSource.TYPED)

    def is_trusted(self, connection: HTTPConnection) -> bool:
        """Whether a request comes from a trusted proxy itself."""
        try:
            peer = ipaddress.ip_address(connection.client.host if connection.client else "")
        except ValueError:  # a Unix socket, or nothing
            return False
        if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped:
            peer = peer.ipv4_mapped
        return any(peer in network for network in self._trusted)


def clean_name(name: str) -> str:
    """A name without spaces around it; "" where there is none.

    Raises:
        InvalidInput: bad_name, it is too long or holds control characters.
    """
    trimmed = name.strip()
    if len(trimmed) > LONGEST_NAME:
        raise InvalidInput("bad_name", f"a name has at most {LONGEST_NAME} characters")
    if any(unicodedata.category(character) in _NO_PART_OF_A_NAME for character in trimmed):
        raise InvalidInput("bad_name", "a name holds no control characters")
    return trimmed


def _text(header: str) -> str:
    # ASGI gives a header's bytes as Latin-1; proxies write UTF-8.
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header
