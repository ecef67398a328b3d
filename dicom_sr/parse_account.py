"""The account of an explanation, read back from the section that dicom_sr.account_sections writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.tree import Section
from worklist.account import Account, Certainty, Change, Check, Comparison, Layer, Statement, Verdict
from worklist.finding import Region, Side

_CHECK: Final = re.compile(r"(.+?); (\d+); ([a-z]+)(?:; (.*))?", re.DOTALL)
_NO_SIDE: Final = "no side"
_STATED: Final = re.compile(
    r"([a-z]+); (right|left|right left|left right|no side); (supported|own); (?:(\d+) (\d+) (\d+) (\d+)|no box)"
)


def parsed_account(section: Section) -> Account | None:
    """The account; None where the report has none (formats 1 to 3)."""
    if section.find(codes.EXPLAINED_AT) is None:
        return None
    change = section.text(codes.CHANGE)
    return Account(
        explained_at=section.moment(codes.EXPLAINED_AT),
        elapsed_ms=section.number(codes.EXPLAINED_IN),
        sop_instance_uid=section.text(codes.LOOKED_AT),
        instead_of=section.text(codes.INSTEAD_OF),
        why=section.text(codes.WHY_INSTEAD),
        prompt_sha256=section.text(codes.PROMPT_SHA256),
        statements=tuple(_statements(section)),
        comparison=Comparison(change=Change(change), compared_with=section.texts(codes.COMPARED)) if change else None,
        uncertainty=section.text(codes.UNCERTAINTY),
        saw_film_alone=section.find(codes.FILM_ALONE) is not None,
        checks=tuple(_check(text) for text in section.texts(codes.CHECK)),
    )


def _statements(section: Section) -> Iterator[Statement]:
    for item, kind in section.findings():
        certainty, sides, origin, *box = _groups(_STATED, section.after(item).text(codes.STATED), codes.STATED)
        yield Statement(
            type=kind,
            certainty=Certainty(certainty),
            sides=() if sides == _NO_SIDE else tuple(Side(side) for side in sides.split()),
            is_supported=origin == "supported",
            region=Region(x=int(box[0]), y=int(box[1]), width=int(box[2]), height=int(box[3])) if box[0] else None,
        )


def _check(text: str) -> Check:
    layer, attempt, verdict, detail = _groups(_CHECK, text, codes.CHECK)
    return Check(layer=Layer(layer), attempt=int(attempt), verdict=Verdict(verdict), detail=detail or "")


def _groups(pattern: re.Pattern[str], text: str, name: Code) -> tuple[str, ...]:
    found = pattern.fullmatch(text)
    if found is None:
        raise LookupError(f"its {name.meaning} is none")
    return found.groups()
