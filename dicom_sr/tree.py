"""The tree of an SR as it is read: items and sections by their concepts. Needs pydicom alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_sr import codes
from worklist.finding import KNOWN_FINDINGS, FindingType
from worklist.finding import Code as FindingCode

Key = tuple[str, str]


class Section:
    """The items of one section, by concept."""

    def __init__(self, items: list[Dataset]) -> None:
        self.items = items

    def find(self, name: Code) -> Dataset | None:
        """The first item of a concept."""
        return next(self.named(name), None)

    def named(self, name: Code) -> Iterator[Dataset]:
        """All items of a concept."""
        return (item for item in self.items if name_of(item) == key_of(name))

    def text(self, name: Code) -> str:
        """A text; "" where there is none."""
        item = self.find(name)
        return "" if item is None else str(item.TextValue)

    def texts(self, name: Code) -> tuple[str, ...]:
        """All texts of a concept."""
        return tuple(str(item.TextValue) for item in self.named(name))

    def number(self, name: Code) -> float:
        """The exact value of a number.

        Raises:
            LookupError: there is none.
        """
        item = self.find(name)
        if item is None:
            raise LookupError(f"it lacks the {name.meaning}")
        return number_of(item)

    def number_or_none(self, name: Code) -> float | None:
        """The exact value of a number; None where there is none."""
        item = self.find(name)
        return None if item is None else number_of(item)

    def hours(self, name: Code) -> timedelta:
        """A time that is stated in hours."""
        return timedelta(hours=self.number(name))

    def moment(self, name: Code) -> datetime:
        """A moment that must be there."""
        return datetime.fromisoformat(self.text(name))

    def moment_or_none(self, name: Code) -> datetime | None:
        """A moment; None where there is none."""
        return self.moment(name) if self.find(name) is not None else None

    def findings(self) -> Iterator[tuple[Dataset, FindingType]]:
        """The coded findings with their kinds; one that this version does not know has its key and name after it."""
        for position, item in enumerate(self.items):
            if item.ValueType != "CODE":
                continue
            after = Section(self.items[position + 1 : position + 3])
            custom = [name_of(one) for one in after.items] == _CUSTOM
            kind = _KNOWN.get(value_of(item)) if not custom else _named(item, after)
            if kind is None:
                raise LookupError(f"it has a finding of an unknown kind: {value_of(item)}")
            yield item, kind

    def after(self, item: Dataset) -> Section:
        """What follows a coded finding and belongs to it: everything up to the next CODE."""
        first = next(position for position, one in enumerate(self.items) if one is item) + 1
        following = range(first, len(self.items))
        last = next((place for place in following if self.items[place].ValueType == "CODE"), len(self.items))
        return Section(self.items[first:last])


def below(item: Dataset | None) -> Section:
    """What is below an item."""
    return Section(list(item.get("ContentSequence") or ()) if item is not None else [])


def sections_of(dataset: Dataset) -> Mapping[Key, Section]:
    """The sections of a document, by their headings."""
    return {name_of(item): below(item) for item in dataset.ContentSequence}


def number_of(item: Dataset) -> float:
    """The exact value of a NUM."""
    measured = item.MeasuredValueSequence[0]
    return float(measured.get("FloatingPointValue", measured.NumericValue))


def name_of(item: Dataset) -> Key:
    """Value and scheme of an item's name."""
    return _key((item.get("ConceptNameCodeSequence") or [Dataset()])[0])


def value_of(item: Dataset) -> Key:
    """Value and scheme of a CODE."""
    return _key(item.ConceptCodeSequence[0])


def key_of(code: Code) -> Key:
    """Value and scheme of a concept."""
    return (code.value, code.scheme_designator)


def _named(item: Dataset, names: Section) -> FindingType:
    value, scheme = value_of(item)
    meaning = str(item.ConceptCodeSequence[0].CodeMeaning)
    return FindingType(
        key=names.text(codes.FINDING_KEY),
        code=FindingCode(value=value, scheme=scheme, meaning=meaning),
        label=names.text(codes.FINDING_LABEL),
    )


def _key(item: Dataset) -> Key:
    value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue") or ""
    return (str(value), str(item.get("CodingSchemeDesignator")))


_KNOWN: Final = {(kind.code.value, kind.code.scheme): kind for kind in KNOWN_FINDINGS.values()}
_CUSTOM: Final = [key_of(codes.FINDING_KEY), key_of(codes.FINDING_LABEL)]
