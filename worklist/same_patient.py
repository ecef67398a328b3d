"""Whether two objects under one Patient ID say that they are of the same patient.

A Patient ID alone does not: two hospitals count from 1, and a placeholder is many people's. So name and birth date must
be stated on both and agree, and what else is stated on both must not contradict. There is no nearly: what differs in
spelling is for people to decide.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PatientFacts:
    """What an object says of its patient, as text; "" where it says nothing.

    Attributes:
        issuer: Issuer of Patient ID (0010,0021).
        name: Patient's Name (0010,0010).
        birth_date: Patient's Birth Date (0010,0030).
        sex: Patient's Sex (0010,0040).
    """

    issuer: str
    name: str
    birth_date: str
    sex: str


def disagreement(one: PatientFacts, other: PatientFacts) -> str:
    """What keeps the other object from being the same patient's, as what it states; "" where all agrees."""
    names, other_names = _names(one.name), _names(other.name)
    issuers = {_plain(one.issuer), _plain(other.issuer)} - {""}
    contradictions = (
        (len(issuers) > 1, "it states another issuer of the Patient ID"),
        (not (names and other_names), "one of the two states no name"),
        (names.isdisjoint(other_names), "it states another name"),
        (not (one.birth_date and other.birth_date), "one of the two states no birth date"),
        (one.birth_date != other.birth_date, "it states another birth date"),
        ({_plain(one.sex), _plain(other.sex)} == {"m", "f"}, "it states another sex"),
    )
    return next((why for is_so, why in contradictions if is_so), "")


def _names(name: str) -> set[str]:
    """Family and given name of each component group (PS3.5 section 6.2.1.2); middle names and titles come and go."""
    groups = ["^".join(map(_plain, group.split("^")[:2])) for group in name.split("=")[:2]]
    return {group for group in groups if group.strip("^")}


def _plain(text: str) -> str:
    """In lower case, without accents, letters and digits alone."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return re.sub(r"[\W_]+", "", "".join(one for one in decomposed if not unicodedata.combining(one)))
