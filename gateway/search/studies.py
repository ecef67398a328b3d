"""Studies in one sequence: those on the reading list in its order, then all others that the PACS has, in its own.

The seam lies behind the last study of the list that meets the keys. What is on the list never comes a second time
behind it, whether or not it met them: of that the records have the last word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.search.pacs import PacsStudies
from gateway.search.seen import SeenStudies
from worklist.attributes import PLACE, READING, URGENCY
from worklist.matching import Key
from worklist.records import Matched, SearchedStudy, StudySearches
from worklist.sight import sight
from worklist.triage import Urgency

_URGENCIES: Final = {Urgency.CRITICAL: "CRITICAL", Urgency.URGENT: "URGENT", Urgency.NONE: "NO AI FLAG"}
_FIRST_PART, _LARGEST_PART, _GROWTH = 16, 512, 4  # studies that are described at one time


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundStudy:
    """One study that was found.

    Attributes:
        orthanc_id: Orthanc's identifier.
        texts: values by keyword, multiple ones joined by backslashes; the records' own where they have them, since
            Orthanc loses letters of some character sets.
        record: what the records tell of it; None where they do not have it.
        place: on the reading list, from 1; None where it is not on it.
    """

    orthanc_id: str
    texts: Mapping[str, str]
    record: SearchedStudy | None
    place: int | None

    @property
    def private_texts(self) -> dict[str, str]:
        """The values of the elements of ours, by tag."""
        record = self.record
        return {
            URGENCY.tag: _URGENCIES[record.urgency] if record and record.urgency else "",
            PLACE.tag: str(self.place or ""),
            READING.tag: record.reading.value.upper() if record else "",
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyPage:
    """A part of the sequence; remaining counts what follows it, None where nobody asked."""

    studies: Sequence[FoundStudy]
    remaining: int | None = None


class StudySearch:
    """Searches the list and the PACS behind it.

    Args:
        records: of the list.
        pacs: what Orthanc tells.
    """

    def __init__(self, records: StudySearches, pacs: PacsStudies) -> None:
        self._records = records
        self.pacs = pacs
        self._seen = SeenStudies(records=records, pacs=pacs)

    def page(self, keys: Sequence[Key], *, offset: int, limit: int, is_counted: bool = False) -> StudyPage:
        """Some of the studies that meet all keys.

        Args:
            keys: of the level of studies or patients.
            offset: how many of the sequence are passed over.
            limit: how many are told at most.
            is_counted: whether to count those that follow.

        Raises:
            InvalidInput: bad_key, Orthanc does not know an attribute.
            PacsUnavailable: Orthanc does not answer.
        """
        if not keys and not is_counted:  # what viewers ask for most: a part of the list needs no look at all of it
            part = self._records.part(offset=offset, limit=limit)
            if len(part) == limit:
                places = {one: place for place, one in enumerate(part, start=offset + 1)}
                return StudyPage(studies=self._joined(part, places))
        listed, first = self._on_the_list(keys)
        sequence = [*first[offset : offset + limit]]
        end, remaining = offset + limit, None
        if len(sequence) < limit or is_counted:
            others = [one for one in self._in_pacs(keys) if one not in listed.places]
            sequence += others[max(0, offset - len(first)) : max(0, end - len(first))]
            remaining = max(0, len(first) + len(others) - end)
        return StudyPage(studies=self._told(sequence, listed.places), remaining=remaining)

    def order(self) -> list[str]:
        """Orthanc's identifiers of all studies on the list, in reading order."""
        return self._records.order()

    def every(self, keys: Sequence[Key], *, is_listed_only: bool = False) -> Iterator[FoundStudy]:
        """The whole sequence, described part by part as it is taken: a few studies first, so that they come at once.

        What is on the list is asked for when it begins, what the PACS has besides when the list has ended.

        Args:
            keys: of the level of studies or patients.
            is_listed_only: whether it ends with the list.

        Raises:
            InvalidInput: bad_key, Orthanc does not know an attribute.
            PacsUnavailable: Orthanc does not answer.
        """
        begun: set[str] = set()
        if not keys:  # the first few of the list need no look at all of it
            few = self._records.part(limit=_FIRST_PART)
            begun.update(few)
            yield from self._joined(few, {one: place for place, one in enumerate(few, start=1)})
        listed, first = self._on_the_list(keys)
        for part in parts([one for one in first if one not in begun]):
            yield from self._told(part, listed.places)
        if is_listed_only:
            return
        others = [one for one in self._in_pacs(keys) if one not in listed.places]
        for part in parts(others):
            yield from self._told(part, listed.places)

    def told(self, orthanc_ids: Sequence[str]) -> dict[str, FoundStudy]:
        """Some studies by Orthanc's identifier, whose places nobody asks for; one that is gone is left out."""
        return {found.orthanc_id: found for found in self._told(orthanc_ids, {})}

    def _on_the_list(self, keys: Sequence[Key]) -> tuple[Matched, Sequence[str]]:
        not_ours = [key for key in keys if not key.is_ours]
        listed = self._records.matched([key for key in keys if key.is_ours])
        if not (not_ours and listed.studies):
            return listed, listed.studies
        met = set(self.pacs.matched(not_ours))
        return listed, [one for one in listed.studies if one in met]

    def _in_pacs(self, keys: Sequence[Key]) -> list[str]:
        if any(key.attribute.is_ours_alone for key in keys):
            return []
        return self._seen.among(self.pacs.matched(keys))

    def _told(self, sequence: Sequence[str], places: Mapping[str, int]) -> list[FoundStudy]:
        records = self._records.told(sequence)
        return self._joined({one: records.get(one) for one in sequence}, places)

    def _joined(self, records: Mapping[str, SearchedStudy | None], places: Mapping[str, int]) -> list[FoundStudy]:
        """What the records tell of some studies, with what Orthanc does; one that it no longer has is left out."""
        facts = self.pacs.told([one for one, record in records.items() if record or sight() is None])
        found = []
        for one, record in records.items():
            if one in facts:
                own = {keyword: text for keyword, text in record.texts.items() if text} if record else {}
                texts = {**facts[one], **own}
                found.append(FoundStudy(orthanc_id=one, texts=texts, record=record, place=places.get(one)))
        return found


def parts(whole: Sequence[str]) -> Iterator[Sequence[str]]:
    """A sequence in parts that grow: a small one first, so that there is something to tell at once."""
    start, size = 0, _FIRST_PART
    while start < len(whole):
        yield whole[start : start + size]
        start, size = start + size, min(size * _GROWTH, _LARGEST_PART)
