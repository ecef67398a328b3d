"""Studies in one sequence: those on the reading list in its order, then all others that the PACS has, in its own.

The seam lies behind the last study of the list that meets the keys. What is on the list never comes a second time
behind it, whether or not it met them: of that the records have the last word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.search.pacs import PacsStudies
from worklist.matching import Key
from worklist.records import SearchedStudy, StudySearches


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
        ours = [key for key in keys if key.is_ours]
        not_ours = [key for key in keys if not key.is_ours]
        listed = self._records.matched(ours)
        first: Sequence[str] = listed.studies
        if not_ours and first:
            met = set(self.pacs.matched(not_ours))
            first = [one for one in first if one in met]
        sequence = [*first[offset : offset + limit]]
        end, remaining = offset + limit, None
        if len(sequence) < limit or is_counted:
            others = [one for one in self._in_pacs(keys) if one not in listed.places]
            sequence += others[max(0, offset - len(first)) : max(0, end - len(first))]
            remaining = max(0, len(first) + len(others) - end)
        return StudyPage(studies=self._told(sequence, listed.places), remaining=remaining)

    def _in_pacs(self, keys: Sequence[Key]) -> list[str]:
        if any(key.attribute.is_ours_alone for key in keys):
            return []
        return self.pacs.matched(keys)

    def _told(self, sequence: Sequence[str], places: Mapping[str, int]) -> list[FoundStudy]:
        records, facts = self._records.told(sequence), self.pacs.told(sequence)
        found = []
        for one in sequence:
            if one not in facts:
                continue  # deleted this moment
            record = records.get(one)
            own = {keyword: text for keyword, text in record.texts.items() if text} if record else {}
            place = places.get(one)
            found.append(FoundStudy(orthanc_id=one, texts={**facts[one], **own}, record=record, place=place))
        return found
