"""What of the PACS is seen, by whoever is being served; Orthanc itself knows of no sites.

Where somebody sees some sites alone, they see of the PACS what lies in studies that the records know and show them:
what only Orthanc knows is as if it were not there. It is Orthanc's identifiers that are compared, and no UID, which
two patients may bear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.search.pacs import PacsStudies
from worklist.attributes import Level
from worklist.matching import is_uid, key_of
from worklist.records import StudySearches
from worklist.sight import sight

_NAMED: Final = (
    ("StudyInstanceUID", Level.STUDY),
    ("SeriesInstanceUID", Level.SERIES),
    ("SOPInstanceUID", Level.IMAGE),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SeenStudies:
    """Tells what is seen.

    Attributes:
        records: hold what is seen of the list.
        pacs: what Orthanc tells.
    """

    records: StudySearches
    pacs: PacsStudies

    def among(self, studies: Sequence[str]) -> list[str]:
        """Those of some studies that are seen, by Orthanc's identifiers and in their order."""
        if sight() is None:
            return list(studies)
        seen = self.records.told(studies)
        return [one for one in studies if one in seen]

    def of(self, resource: str) -> list[str] | None:
        """The studies of a patient, or of a series or an instance the one, that are seen; None where everything is.

        Args:
            resource: Orthanc's identifier.

        Raises:
            PacsUnavailable: Orthanc does not answer.
        """
        return None if sight() is None else self.among(self.pacs.studies_of([resource]))

    def is_seen(self, uids: Sequence[str]) -> bool:
        """Whether a study is seen, a series or an instance: whatever in the PACS bears these UIDs, all of it.

        Args:
            uids: Study, Series and SOP Instance UID, as far as they are named.

        Raises:
            PacsUnavailable: Orthanc does not answer.
        """
        if sight() is None:
            return True
        if not all(map(is_uid, uids)):
            return False
        keys = [key_of(keyword, uid, level) for (keyword, level), uid in zip(_NAMED, uids, strict=False)]
        level = _NAMED[len(uids) - 1][1]
        studies = self.pacs.studies_of(self.pacs.matched([key for key in keys if key], level))
        return bool(studies) and self.among(studies) == studies
