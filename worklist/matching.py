"""Attribute matching as PS3.4 section C.2.2.2 has it, for values as the records hold them.

Text is compared without regard to case, as Orthanc does it: a study that is to be read must not be missed for a
capital letter. Everything else is compared exactly. A key that no value could meet is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import translate
from typing import Final

from worklist.attributes import Attribute, Level, Matching, attribute
from worklist.errors import InvalidInput

LONGEST_UID: Final = 64  # characters (PS3.5 section 9.1)
_LONGEST_KEY: Final = 10_000  # characters; a list of a hundred UIDs has 6,500
_UID = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)
_DATE = re.compile(r"[0-9]{8}", re.ASCII)
_TIME = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9](([0-5][0-9]|60)(\.[0-9]{1,6})?)?)?", re.ASCII)
_MOMENT = r"[0-9]{4}(?:[0-9]{2}){0,5}(?:\.[0-9]{1,6})?(?:[+-](?:0[0-9]|1[0-4])[0-5][0-9])?"
_MOMENTS = re.compile(rf"(?P<first>{_MOMENT})?(?P<range>-(?P<last>{_MOMENT})?)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9]{1,64}", re.ASCII)
_TAG = re.compile(r"[0-9A-Fa-f]{8}", re.ASCII)
_PN_DELIMITERS: Final = 4  # between the five components of a group

Match = Callable[[str], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One attribute of a query with the value that it must have.

    Attributes:
        attribute: what is matched.
        value: as it was asked for, parts of a list joined by backslashes; never empty.
        matches: whether a value meets it.
    """

    attribute: Attribute
    value: str
    matches: Match

    @property
    def is_ours(self) -> bool:
        """Whether the records have what it asks for; where they do not, Orthanc must tell."""
        return bool(self.attribute.column)


def key_of(name: str, value: str, level: Level = Level.STUDY) -> Key | None:
    """A key of a query; None where it matches everything.

    Args:
        name: keyword or tag of its attribute. One that the table does not have is left to Orthanc.
        value: what it must be; an empty one matches everything.
        level: at which the query searches; keys of the levels below cannot be met there.

    Raises:
        InvalidInput: bad_key.
    """
    return key_for(_asked(name, level), value)


def key_for(asked: Attribute, value: str) -> Key | None:
    """A key of an attribute that is known; None where it matches everything.

    Raises:
        InvalidInput: bad_key.
    """
    text = value.strip(" \0")
    if not text:
        return None
    if not asked.is_key:
        raise _bad(asked.keyword, "can be asked for, but not be matched")
    if len(text) > _LONGEST_KEY or any(unicodedata.category(letter) in {"Cc", "Cs"} for letter in text):
        raise _bad(asked.keyword, "has a value that is too long or holds control characters")
    if asked.matching is not Matching.UID_LIST and not text.strip("*"):
        return None  # PS3.4 section C.2.2.2.4: a lone asterisk is universal matching
    return _MAKERS[asked.matching](asked, text)


def is_uid(text: str) -> bool:
    """Whether a text can be a UID (PS3.5 section 9.1); components with leading zeros are let pass, as they occur."""
    return bool(_UID.fullmatch(text)) and len(text) <= LONGEST_UID


def _asked(name: str, level: Level) -> Attribute:
    known = attribute(name)
    if known is None:
        if not (_NAME.fullmatch(name) or _TAG.fullmatch(name)):
            raise _bad(name, "is no keyword or tag of an attribute")
        return Attribute(keyword=name, tag="", vr="UN", level=level)
    ranks = list(Level)
    if ranks.index(known.level) > ranks.index(level):
        raise _bad(known.keyword, f"is an attribute of the level {known.level}: search there, not at {level}")
    return known


def _text_key(asked: Attribute, text: str) -> Key:
    pattern = _pattern(text)
    return Key(attribute=asked, value=text, matches=lambda held: pattern(held.strip()))


def _words_key(asked: Attribute, text: str) -> Key:
    words = [word.strip() for word in re.split(r"[\\,]", text) if word.strip()]
    if not words:
        raise _bad(asked.keyword, "has a list without a value")
    patterns = [_pattern(word) for word in words]
    return Key(attribute=asked, value="\\".join(words), matches=lambda held: any(map(_any_of(held), patterns)))


def _person_name_key(asked: Attribute, text: str) -> Key:
    return Key(attribute=asked, value=text, matches=_person_name(text))


def _uid_key(asked: Attribute, text: str) -> Key:
    uids = [uid.strip(" \0") for uid in re.split(r"[\\,]", text)]
    for uid in uids:
        if "*" in uid or "?" in uid:
            raise _bad(asked.keyword, "is a UID, which has no wildcards")
        if not is_uid(uid):
            raise _bad(asked.keyword, f"takes UIDs of digits and dots, {LONGEST_UID} characters at most")
    return Key(attribute=asked, value="\\".join(uids), matches=frozenset(uids).__contains__)


def _range_key(asked: Attribute, text: str) -> Key:
    first, dash, last = (part.strip() for part in text.partition("-"))
    is_date = asked.matching is Matching.DATE_RANGE
    ends = [end for end in (first, last) if end]
    if not ends or not all(map(_is_date if is_date else _TIME.fullmatch, ends)):
        form = "a date YYYYMMDD, or a range of two" if is_date else "a time HHMMSS.FFFFFF, or a range of two"
        raise _bad(asked.keyword, f"takes {form} with a hyphen between, one of which may be left out")
    if not dash:
        return Key(attribute=asked, value=first, matches=first.__eq__)
    if first and last and first > last:
        raise _bad(asked.keyword, "is a range whose end lies before its beginning")
    highest = last + "~"  # after every value that begins so: a range up to 11 holds 1130

    def within(held: str) -> bool:
        return bool(held) and first <= held and (not last or held < highest)

    return Key(attribute=asked, value=f"{first}-{last}", matches=within)


def _moment_key(asked: Attribute, text: str) -> Key:
    found = _MOMENTS.fullmatch(text)
    if not found or not (found["first"] or found["last"]):
        form = "a moment YYYYMMDDHHMMSS.FFFFFF+ZZXX, as short as need be, or a range of two"
        raise _bad(asked.keyword, f"takes {form} with a hyphen between, one of which may be left out")
    first, last = (_in_utc(asked, found[end]) for end in ("first", "last"))
    if not found["range"]:
        return Key(attribute=asked, value=text, matches=lambda held: held.startswith(first))
    if first and last and first > last:
        raise _bad(asked.keyword, "is a range whose end lies before its beginning")
    highest = last + "~"

    def within(held: str) -> bool:
        return bool(held) and first <= held and (not last or held < highest)

    return Key(attribute=asked, value=text, matches=within)


def _in_utc(asked: Attribute, moment: str | None) -> str:
    """A moment as far as it is told, moved to UTC where it says how far it is from there (PS3.5 section 6.2)."""
    told, offset = (moment or "")[:-5], (moment or "")[-5:]
    if offset[:1] not in {"+", "-"}:
        return moment or ""
    form = "%Y%m%d%H%M%S.%f"
    shortest = "00010101000000.000000"
    try:
        local = datetime.strptime(f"{told}{shortest[len(told) :]}{offset}", f"{form}%z")
        return local.astimezone(UTC).strftime(form)[: max(len(told), 12)]
    except (ValueError, OverflowError) as error:
        raise _bad(asked.keyword, f"holds {told}, which is no moment") from error


def _is_date(text: str) -> bool:
    try:
        return bool(_DATE.fullmatch(text) and date.fromisoformat(text))
    except ValueError:
        return False


def _pattern(text: str) -> Match:
    """Wildcard matching (PS3.4 section C.2.2.2.4): `*` is any characters, `?` is one."""
    glob = translate(_plain(text).replace("[", "[[]"))  # brackets mean nothing in DICOM
    matches = re.compile(glob, re.IGNORECASE).match
    return lambda held: matches(_plain(held)) is not None


def _any_of(held: str) -> Callable[[Match], bool]:
    values = [value.strip() for value in held.split("\\")]
    return lambda matches: any(map(matches, values))


def _person_name(text: str) -> Match:
    """A key without `=` is met by any component group, one with it group by group; empty groups by everything."""
    asked = [_group(group) for group in text.split("=")[:3]]
    patterns = [_pattern(group) if group else None for group in asked]

    def matches(held: str) -> bool:
        groups = [_group(group) for group in held.split("=")[:3]]
        if len(patterns) == 1:
            return any(_meets(patterns[0], group) for group in groups)
        groups += [""] * (len(patterns) - len(groups))
        return all(_meets(pattern, group) for pattern, group in zip(patterns, groups, strict=False))

    return matches


def _meets(pattern: Match | None, group: str) -> bool:
    # A name may leave out its last components: "Doe" is "Doe^^^^", which "Doe^*" asks for.
    return pattern is None or pattern(group) or pattern(group + "^" * (_PN_DELIMITERS - group.count("^")))


def _group(group: str) -> str:
    return "^".join(part.strip() for part in group.split("^")).rstrip("^")


_MAKERS: Final[Mapping[Matching, Callable[[Attribute, str], Key]]] = {
    Matching.UID_LIST: _uid_key,
    Matching.DATE_RANGE: _range_key,
    Matching.TIME_RANGE: _range_key,
    Matching.MOMENT_RANGE: _moment_key,
    Matching.PERSON_NAME: _person_name_key,
    Matching.WORDS: _words_key,
    Matching.TEXT: _text_key,
}


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _bad(name: str, fault: str) -> InvalidInput:
    return InvalidInput("bad_key", f"{name[:64]} {fault}")
