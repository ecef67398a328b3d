"""Who sees which sites, and in what context."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable

import pytest

from worklist.errors import NotPermitted
from worklist.reading import Actor, ActorSource
from worklist.roles import BY_SITE, UseCase
from worklist.sight import Sight, Sites, institution_key, seeing, sight

SITES = Sites(
    institutions={"north": frozenset({"North  Hospital", "NH"}), "south": frozenset({"South Hospital"})},
    seen_by={
        "doctors": frozenset({"north"}),
        "both": frozenset({"north", "south"}),
        "pacs": frozenset({"*"}),
        "key:viewer": frozenset({"*"}),
        "ae:WS1": frozenset({"*"}),
        "tls:ws1": frozenset({"south"}),
        "old": frozenset({"west"}),
    },
)
NORTH, SOUTH = frozenset({"north hospital", "nh"}), frozenset({"south hospital"})


@pytest.mark.parametrize(
    ("groups", "seen"),
    [
        (["doctors"], NORTH),
        (["doctors", "others"], NORTH),
        (["both"], NORTH | SOUTH),
        (["others"], frozenset()),
        ([], frozenset()),
        (["key:viewer", "ae:WS1", "tls:ws1"], frozenset()),  # no group passes for a machine
        (["old"], frozenset()),
    ],
)
def test_whoever_is_not_named_sees_nothing(groups: list[str], seen: frozenset[str]) -> None:
    """A group that is named opens its sites, and any other none."""
    assert SITES.sight(SITES.of_groups(groups)) == Sight(institutions=seen)


def test_all_is_seen_where_it_is_said() -> None:
    """By the asterisk alone, or where there are no sites."""
    assert SITES.sight(SITES.of_groups(["pacs", "doctors"])) is None
    assert SITES.sight(SITES.of_key("viewer")) is None
    assert SITES.sight(SITES.of_key("another")) == Sight(institutions=frozenset())
    assert Sites().sight(frozenset()) is None


def test_a_certificate_goes_before_an_ae_title() -> None:
    """A title that sees all opens nothing more to a peer whose certificate names one site."""
    assert SITES.sight(SITES.of_peer("WS1", ())) is None
    assert SITES.sight(SITES.of_peer("WS1", ["ws1"])) == Sight(institutions=SOUTH)
    assert SITES.sight(SITES.of_peer("WS9", ["ws9"])) == Sight(institutions=frozenset())


def test_names_are_compared_as_modalities_write_them() -> None:
    """Spaces and capital letters make no other hospital; an empty name is no site's."""
    assert institution_key(" NORTH \u00a0 Hospital ") == "north hospital"
    assert SITES.site_of("north hospital") == "north"
    assert SITES.site_of("") is None
    assert SITES.site_of("North Hospital East") is None


def test_a_context_ends_where_it_should() -> None:
    """Also after an error, and in a thread that is begun without the context nobody is served."""
    one = Sight(institutions=NORTH)
    heard: list[Sight | None] = []
    copied: list[contextvars.Context] = []

    def fail() -> None:
        with seeing(one):
            copied.append(contextvars.copy_context())
            _run(lambda: heard.append(sight()))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    _run(lambda: copied[0].run(lambda: heard.append(sight())))
    assert heard == [None, one]
    assert sight() is None


def _run(work: Callable[[], object]) -> None:
    """In a thread, until it is done."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_what_concerns_every_site_needs_the_sight_of_all() -> None:
    """A use case that nobody has said to be held to sites is refused, whatever the roles are."""
    everything = Actor(name="Ann", source=ActorSource.KEY)
    some = Actor(name="Ann", source=ActorSource.KEY, sight=Sight(institutions=NORTH))
    for use_case in UseCase:
        assert everything.may(use_case)
        assert some.may(use_case) == (use_case in BY_SITE)
        everything.require(use_case)
    with pytest.raises(NotPermitted, match="Ann sees some sites alone: only who sees all may store images"):
        some.require(UseCase.STORE)
    assert {one for one in UseCase if one not in BY_SITE} == {
        UseCase.SUBSCRIBE,
        UseCase.STORE,
        UseCase.SEE_METRICS,
        UseCase.SEE_TRIAGE,
        UseCase.CHANGE_TRIAGE,
    }
