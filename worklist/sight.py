"""Whose studies somebody sees, where several sites share one reading list.

A study belongs to the site whose Institution Name (0008,0080) it states. Who asks sees the sites that are named for
them, or all. What is asked on their behalf is asked within `seeing`: there every transaction of the records holds the
studies of their sites alone (worklist/records/seen.py), and of what the PACS is asked only those are passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

ALL: Final = "*"
"""Stands for every site, and for what belongs to none."""
KEY: Final = "key:"
"""Before the name of an API key ..."""
AE_TITLE: Final = "ae:"
"""... an AE title ..."""
CERTIFICATE: Final = "tls:"
"""... and the name in a certificate, where it is said what they see."""
_OF_MACHINES: Final = (KEY, AE_TITLE, CERTIFICATE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sight:
    """Some sites, whose studies are seen and no others.

    Attributes:
        institutions: Institution Names as institution_key has them; none sees nothing.
    """

    institutions: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sites:
    """The sites that share the list, and who sees which; without sites everybody sees everything.

    Attributes:
        institutions: Institution Names by site.
        seen_by: sites by a group of the logins, or by KEY, AE_TITLE or CERTIFICATE and a name; ALL for every one.
    """

    institutions: Mapping[str, frozenset[str]] = field(default_factory=dict)
    seen_by: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def of_groups(self, groups: Iterable[str]) -> frozenset[str]:
        """The sites of somebody in some groups; no group passes for a machine."""
        return self._of(group for group in groups if not group.startswith(_OF_MACHINES))

    def of_key(self, name: str) -> frozenset[str]:
        """The sites of whoever has an API key."""
        return self._of([f"{KEY}{name}"])

    def of_peer(self, title: str, certified: Iterable[str]) -> frozenset[str]:
        """The sites of a DICOM peer: by the names in its certificate where one is named here, else by its AE title."""
        return self._of(f"{CERTIFICATE}{name}" for name in certified) or self._of([f"{AE_TITLE}{title}"])

    def sight(self, sites: Iterable[str]) -> Sight | None:
        """What is seen of some sites; None where that is everything."""
        named = frozenset(sites)
        if not self.institutions or ALL in named:
            return None
        # a site that is named no longer shows nothing
        seen = (self.institutions.get(site, frozenset()) for site in named)
        return Sight(institutions=frozenset(map(institution_key, frozenset().union(*seen))))

    def site_of(self, institution: str) -> str | None:
        """The site with an Institution Name; None where it is none's."""
        key = institution_key(institution)
        return next((site for site, names in self.institutions.items() if key in map(institution_key, names)), None)

    def _of(self, names: Iterable[str]) -> frozenset[str]:
        return frozenset().union(*(self.seen_by.get(name, frozenset()) for name in names))


def institution_key(institution: str) -> str:
    """An Institution Name as it is compared: modalities differ in spaces and capital letters."""
    return " ".join(institution.split()).casefold()


_SIGHT: ContextVar[Sight | None] = ContextVar("sight", default=None)


def sight() -> Sight | None:
    """What is seen by whoever is being served here; None where that is everything, and where nobody is."""
    return _SIGHT.get()


@contextmanager
def seeing(seen: Sight | None) -> Iterator[None]:
    """Serve somebody who sees this much, in this thread or task and those that it begins with its context."""
    before = _SIGHT.set(seen)
    try:
        yield
    finally:
        _SIGHT.reset(before)
