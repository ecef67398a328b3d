"""Whom a note is about, as far as it says so: to notice a note that lies beside another patient's film."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from worklist.notes.film import FilmFacts, name_words
from worklist.notes.statements import Source

_NAME: Final = re.compile(
    r"(?:^|\n|[.;] )[^\S\n]*(?:patient(?: name)?|pt(?: name)?|name|re|surname)\s*[:=]\s*"
    r"((?:[^\W\d_](?:\.|[\w'’-]{0,30})[ ,^]{1,2}){0,4}[^\W\d_][\w'’-]{1,30})"
    r"(?=\s*(?:$|\n|[,;.(]|\s(?:DOB|MRN|ID|age|born)\b|\d))",
    re.IGNORECASE,
)
_TITLED: Final = re.compile(r"\b(?:Mr|Mrs|Ms|Miss)\.? ([A-Z][\w'’-]{1,30}(?: [A-Z][\w'’-]{1,30}){0,3})")
_NUMBER: Final = re.compile(
    r"\b(?:MRN|patient id|hospital (?:no|number|id)|patient (?:no|number)|NHS (?:no|number)|case number)\.?\s*[:#=]?\s*"
    r"([A-Za-z]{0,4}[-]?\d[\w/-]{1,24})",
    re.IGNORECASE,
)
_BORN: Final = re.compile(
    r"\b(?:DOB|D\.O\.B\.?|date of birth|born(?: on)?)\s*[:=]?\s*(\d{1,4})[./-](\d{1,2})[./-](\d{2,4})\b", re.IGNORECASE
)
_SEX: Final = re.compile(
    r"\b(?:(?P<f>(?i:woman|female|lady|girl))|(?P<m>(?i:man|male|gentleman|boy)))\b|\b\d{1,3}\s?(?:y/?o\s?)?(?P<s>[MF])\b",
)
_OF_ANOTHER: Final = re.compile(
    r"\b(?:dr|doctor|consultant|surgeon|gp|wife|husband|mother|father)\b[^.\n]{0,20}$", re.IGNORECASE
)
_AGES_APART: Final = Decimal(1)  # a birthday may lie between note and film
_ONLY_SOME: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class NotedPatient:
    """What a note says of its patient; "" where it says nothing."""

    name: str
    number: str
    born: tuple[int, int, int] | None
    sex: str


def patient_of(text: str) -> NotedPatient:
    """Whom a note names."""
    name, number, born = _NAME.search(text), _NUMBER.search(text), _BORN.search(text)
    titled = next(
        (one for one in _TITLED.finditer(text) if not _OF_ANOTHER.search(text[max(0, one.start() - 40) : one.start()])),
        None,
    )
    named, sex = name or titled, _SEX.search(text)
    said = (sex["s"] or ("F" if sex["f"] else "M")) if sex else ""
    return NotedPatient(
        name=" ".join(named[1].split()) if named else "",
        number=number[1] if number else "",
        born=(int(born[1]), int(born[2]), int(born[3])) if born else None,
        sex=said,
    )


def differences(noted: NotedPatient, age: Decimal | None, film: FilmFacts, source: Source) -> list[str]:
    """In what a note is of another patient than its film, each as a sentence; none where nothing contradicts."""
    found = []
    if noted.name and film.patient_name and not _may_be_one(name_words(noted.name), name_words(film.patient_name)):
        found.append(
            f"The {source} names {noted.name}, the film {' '.join(film.patient_name.replace('^', ' ').split())}."
        )
    if noted.number and film.patient_id and _plain(noted.number) != _plain(film.patient_id):
        found.append(f"The {source} gives the number {noted.number}, the film {film.patient_id}.")
    if noted.born and re.fullmatch(r"[0-9]{8}", film.birth_date) and not _is_born(noted.born, film.birth_date):
        found.append(f"The {source} gives another date of birth than the film.")
    if noted.sex and film.sex in {"M", "F"} and noted.sex != film.sex:
        words = {"M": "a man", "F": "a woman"}
        found.append(f"The {source} is of {words[noted.sex]}, the film of {words[film.sex]}.")
    if age is not None and film.age is not None and abs(age - film.age) > _AGES_APART:
        found.append(f"The {source} gives an age of {age.normalize():f} years, the film {int(film.age)}.")
    return found


def _may_be_one(noted: frozenset[str], film: frozenset[str]) -> bool:
    """Whether all words of one name are words of the other; what differs in spelling is for people to decide."""
    return not noted or not film or noted <= film or film <= noted or len(noted & film) >= _ONLY_SOME


def _is_born(noted: tuple[int, int, int], birth_date: str) -> bool:
    """Whether the two may be one day, in whatever order the note writes it."""
    year, month, day = int(birth_date[:4]), int(birth_date[4:6]), int(birth_date[6:])
    years = {number if number > 99 else number + century for number in (noted[0], noted[2]) for century in (1900, 2000)}  # noqa: PLR2004
    return year in years and {month, day} <= set(noted)


def _plain(number: str) -> str:
    return re.sub(r"[\W_]+", "", number).casefold().lstrip("0")
