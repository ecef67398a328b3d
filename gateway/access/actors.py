"""Who asks: whoever is logged in; where nobody is asked to, a name from the proxy or the name that a reader typed.

A name in a header is believed from a trusted proxy alone, since anybody can send one.
"""

from __future__ import annotations

import ipaddress
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from starlette.requests import HTTPConnection

from worklist.errors import InvalidInput, NotPermitted
from worklist.reading import Actor, ActorSource

HEADER: Final = "X-Remote-User"
FORWARDED_FOR: Final = "X-Forwarded-For"
LOGGED_IN_ACTOR: Final = "firstread.actor"
"""Where a request's scope holds who is logged in (login.py)."""
WHO: Final = "firstread.who"
"""Where a request's scope holds a list for whoever asked, as far as it has been found out, for the audit trail."""
LONGEST_NAME: Final = 64  # characters
_NO_PART_OF_A_NAME = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, halves of characters, line breaks


class Actors:
    """Tells who asks.

    Args:
        trusted_proxies: addresses and networks, such as "10.1.2.3" and "10.1.0.0/16", whose X-Remote-User is believed.
        is_login_required: whether nobody acts who is not logged in.

    Raises:
        InvalidInput: bad_trusted_proxies, one of them is neither.
    """

    def __init__(self, trusted_proxies: Iterable[str] = (), *, is_login_required: bool = False) -> None:
        self.is_login_required = is_login_required
        try:
            self._trusted: tuple[IPv4Network | IPv6Network, ...] = tuple(
                ipaddress.ip_network(proxy.strip()) for proxy in trusted_proxies if proxy.strip()
            )
        except ValueError as error:
            raise InvalidInput(
                "bad_trusted_proxies", f"FIRSTREAD_TRUSTED_PROXIES: {error}: give addresses or networks"
            ) from error

    def signed_in(self, connection: HTTPConnection) -> Actor | None:
        """Who is logged in, or, where nobody is asked to, signed in at the proxy; None where nobody is.

        Raises:
            InvalidInput: bad_name, the proxy's name is none, or there are two.
        """
        if self.is_login_required:
            return connection.scope.get(LOGGED_IN_ACTOR)
        name = self.named_by_proxy(connection)
        if not name:
            return None
        return _found_out(connection, Actor(name=name, source=ActorSource.PROXY, address=self.address(connection)))

    def of(self, connection: HTTPConnection, typed: str | None) -> Actor:
        """Who asks for a change: whoever is signed in, or else the name that was typed.

        Raises:
            InvalidInput: no_name, neither names anybody; bad_name.
            NotPermitted: not_logged_in.
        """
        actor = self.signed_in(connection)
        if actor:
            return actor
        name = clean_name(typed or "")
        if not name:
            raise InvalidInput("no_name", 'say who asks: {"by": "your name", ...}')
        return self.typed(connection, name)

    def typed(self, connection: HTTPConnection, name: str) -> Actor:
        """Who says so of themselves, where nobody is asked to log in.

        Raises:
            NotPermitted: not_logged_in.
        """
        if self.is_login_required:
            raise NotPermitted("not_logged_in", "nobody is logged in")
        return _found_out(connection, Actor(name=name, source=ActorSource.TYPED, address=self.address(connection)))

    def named_by_proxy(self, connection: HTTPConnection) -> str:
        """Whom a trusted proxy names; "" where none does.

        Raises:
            InvalidInput: bad_name, the proxy's name is none, or there are two.
        """
        names = connection.headers.getlist(HEADER) if self.is_trusted(connection) else []
        if len(names) > 1:
            raise InvalidInput("bad_name", f"the proxy passes on a second {HEADER}: have it replace the caller's")
        return clean_name(_text(names[0])) if names else ""

    def address(self, connection: HTTPConnection) -> str:
        """From where a request comes: the last that a trusted proxy says, and none before it, which anybody can say."""
        peer = connection.client.host if connection.client else ""
        if not self.is_trusted(connection):
            return peer
        forwarded = ",".join(connection.headers.getlist(FORWARDED_FOR))
        for told in reversed([part.strip() for part in forwarded.split(",")]):
            address = _address(told)
            if address is None:
                return peer
            peer = str(address)
            if not self._has(address):
                return peer
        return peer

    def is_trusted(self, connection: HTTPConnection) -> bool:
        """Whether a request comes from a trusted proxy itself."""
        peer = _address(connection.client.host if connection.client else "")
        return peer is not None and self._has(peer)

    def _has(self, address: IPv4Address | IPv6Address) -> bool:
        return any(address in network for network in self._trusted)


def _found_out(connection: HTTPConnection, actor: Actor) -> Actor:
    connection.scope.get(WHO, []).append(actor)
    return actor


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


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, IPv4 also where it comes as IPv6; None for a Unix socket, or nothing."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _text(header: str) -> str:
    # ASGI gives a header's bytes as Latin-1; proxies write UTF-8.
    try:
        return header.encode("latin-1").decode()
    except UnicodeDecodeError:
        return header
