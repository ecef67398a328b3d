"""What a film says beside a note: its named findings and its patient, as far as they are known."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from worklist.finding import Analysis, Side
from worklist.triage import Triage

_TITLES: Final = frozenset({"mr", "mrs", "ms", "miss", "dr", "prof", "sir", "patient", "name", "the"})


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedFinding:
    """A finding that the triage names on a film: its key, its label in a sentence, and the side that may be told."""

    key: str
    label: str
    side: Side | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FilmFacts:
    """A film that was judged, and what its header says of the patient; "" and None where it says nothing.

    Attributes:
        named: the findings that the triage names; None while nothing has judged it.
        sex: M or F.
        age: in years.
    """

    named: tuple[NamedFinding, ...] | None
    patient_name: str = ""
    patient_id: str = ""
    birth_date: str = ""
    sex: str = ""
    age: Decimal | None = None


def named_findings(analysis: Analysis, triage: Triage) -> tuple[NamedFinding, ...]:
    """The findings of an Analysis that its triage names."""
    return tuple(
        NamedFinding(key=one.finding.type.key, label=one.finding.type.label, side=analysis.side_of(one.finding))
        for one in triage.named
    )


def name_words(name: str) -> frozenset[str]:
    """The words of a name in lower case, without accents and titles: of DICOM's form and of a note's."""
    decomposed = unicodedata.normalize("NFKD", name.casefold())
    plain = "".join(one for one in decomposed if not unicodedata.combining(one))
    return frozenset(word for word in re.findall(r"[^\W\d_]+", plain) if word not in _TITLES and len(word) > 1)


def age_of(age_string: str) -> Decimal | None:
    """Years of an Age String (PS3.5, 6.2: 071Y, 018M, 003W, 012D); None of anything else."""
    found = re.fullmatch(r"\s*(\d{3})([YMWD])\s*", age_string)
    if not found:
        return None
    return Decimal(found[1]) if found[2] == "Y" else Decimal(found[1]) / {"M": 12, "W": 52, "D": 365}[found[2]]
