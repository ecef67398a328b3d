"""Who asks: names from proxies and from people."""

from __future__ import annotations

import pytest
from starlette.requests import HTTPConnection

from gateway.access.actors import Actors, clean_name
from worklist.errors import InvalidInput, NotPermitted
from worklist.reading import Actor, ActorSource


def connection(peer: str | None, *names: str) -> HTTPConnection:
    """A request of this peer with these X-Remote-User headers."""
    headers = [(b"x-remote-user", name.encode()) for name in names]
    return HTTPConnection({"type": "http", "headers": headers, "client": (peer, 4711) if peer else None})


@pytest.mark.parametrize(
    ("peer", "is_trusted"),
    [
        ("127.0.0.1", True),
        ("10.1.200.3", True),
        ("::ffff:10.1.200.3", True),
        ("fd00::7", True),
        ("10.2.0.1", False),
        ("127.0.0.2", False),
        ("::1", False),
        ("testclient", False),
        (None, False),
    ],
)
def test_only_a_trusted_peer_names_anybody(peer: str | None, *, is_trusted: bool) -> None:
    """Addresses and networks count, IPv4 also where it comes as IPv6; a header of anybody else is passed over."""
    actors = Actors(["127.0.0.1", " 10.1.0.0/16 ", "fd00::/8", ""])
    expected = Actor(name="k.adeyemi", source=ActorSource.PROXY) if is_trusted else None
    assert actors.signed_in(connection(peer, "k.adeyemi")) == expected


def test_without_trusted_proxies_nobody_is_signed_in() -> None:
    """Not even on this machine."""
    assert Actors().signed_in(connection("127.0.0.1", "root")) is None


def test_the_proxy_comes_before_what_was_typed() -> None:
    """A signed-in reader cannot act under another name; an empty header leaves the typed one."""
    actors = Actors(["127.0.0.1"])
    assert actors.of(connection("127.0.0.1", "k.adeyemi"), "typed").name == "k.adeyemi"
    for names in ((), ("",), ("  ",)):
        assert actors.of(connection("127.0.0.1", *names), " typed ") == Actor(name="typed", source=ActorSource.TYPED)


@pytest.mark.parametrize("typed", [None, "", " \t\n "])
def test_nobody_is_refused(typed: str | None) -> None:
    """Where neither names anybody."""
    with pytest.raises(InvalidInput, match="say who") as refused:
        Actors().of(connection("127.0.0.1", "ignored"), typed)
    assert refused.value.code == "no_name"


@pytest.mark.parametrize("names", [("a", "b"), ("x" * 65,), ("a\x07b",)])
def test_a_proxy_that_names_nobody_rightly_is_refused(names: tuple[str, ...]) -> None:
    """Two names, since one may be the caller's own, one that is too long, and one with a control character."""
    with pytest.raises(InvalidInput) as refused:
        Actors(["127.0.0.1"]).of(connection("127.0.0.1", *names), "typed")
    assert refused.value.code == "bad_name"


@pytest.mark.parametrize("proxies", [["proxy.example.org"], ["10.1.2.3/16"], ["300.1.1.1"]])
def test_bad_settings_are_told(proxies: list[str]) -> None:
    """A host name, a network with host bits, and what is no address stop the gateway, with the setting's name."""
    with pytest.raises(InvalidInput, match="FIRSTREAD_TRUSTED_PROXIES"):
        Actors(proxies)


def test_names_are_trimmed_and_keep_their_letters() -> None:
    """Sixty-four characters of any script, whatever number of bytes they take."""
    assert clean_name("  Dr. Müller ") == "Dr. Müller"
    assert clean_name("山" * 64) == "山" * 64
    assert clean_name("می\u200cخواهم") == "می\u200cخواهم"


@pytest.mark.parametrize("name", ["x" * 65, "a\0", "a\u0085b", "a\nb", "a\u2029b", "\ud800"])
def test_names_hold_nothing_else(name: str) -> None:
    """Control characters, line separators and halves of characters are refused."""
    with pytest.raises(InvalidInput):
        clean_name(f"N{name}N")


@pytest.mark.parametrize(
    ("peer", "told", "address"),
    [
        ("10.1.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.1.0.1", "198.51.100.9, 192.0.2.7, 10.1.0.2", "192.0.2.7"),
        ("10.1.0.1", "10.1.0.3, 10.1.0.2", "10.1.0.3"),
        ("10.1.0.1", "forged, 192.0.2.7", "192.0.2.7"),
        ("10.1.0.1", "192.0.2.7, unknown", "10.1.0.1"),
        ("10.1.0.1", "", "10.1.0.1"),
        ("192.0.2.9", "192.0.2.7", "192.0.2.9"),
        (None, "192.0.2.7", ""),
    ],
)
def test_an_address_is_what_a_trusted_proxy_says_last(peer: str | None, told: str, address: str) -> None:
    """What stands before it anybody may have written, and of anybody else's word nothing is believed."""
    headers = [(b"x-forwarded-for", told.encode())] if told else []
    scope = {"type": "http", "headers": headers, "client": (peer, 4711) if peer else None}
    assert Actors(["10.1.0.0/16"]).address(HTTPConnection(scope)) == address


def test_where_a_login_is_required_no_name_is_taken_on_trust() -> None:
    """Neither a typed one nor a proxy's: who is logged in has been found out before, or nobody acts."""
    actors = Actors(["127.0.0.1"], is_login_required=True)
    assert actors.signed_in(connection("127.0.0.1", "k.adeyemi")) is None
    with pytest.raises(NotPermitted):
        actors.of(connection("127.0.0.1", "k.adeyemi"), "typed")
