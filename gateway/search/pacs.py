"""What Orthanc's index tells of studies: which of them meet some keys, and what they are.

Its own interface is asked, and not its DICOMweb plug-in: it takes names in any script, tells studies apart that share
a UID, and describes a page of a hundred in two requests.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.intake.orthanc import OrthancClient, reading_answer
from gateway.search.kept import KeptStudies, Texts
from worklist.attributes import Level
from worklist.errors import InvalidInput, PacsUnavailable
from worklist.matching import Key

_AT_ONCE: Final = 500  # studies of one question
_NAMES: Final = {Level.PATIENT: "Patient", Level.STUDY: "Study", Level.SERIES: "Series", Level.IMAGE: "Instance"}
_IN_ADDRESS: Final = 50  # UIDs of 64 characters, so that an address stays below the 8 kB that servers take


class PacsStudies:
    """The studies that Orthanc holds.

    Args:
        orthanc: the connection. Every method raises PacsUnavailable where it does not answer.
    """

    def __init__(self, orthanc: OrthancClient) -> None:
        self._orthanc = orthanc
        self._kept = KeptStudies(orthanc, self._described, self.studies_of)

    @reading_answer()
    def matched(self, keys: Sequence[Key], level: Level = Level.STUDY) -> list[str]:
        """Orthanc's identifiers of the studies, or of what else there is of a level, that meet some keys.

        They come in its own order.

        Raises:
            InvalidInput: bad_key, one is of an attribute that Orthanc does not know.
        """
        if not keys and level is Level.STUDY:
            return list(self._orthanc.ask(self._orthanc.rest.get, "/studies").json())
        query = {key.attribute.keyword: key.value for key in keys}
        try:
            return list(self._post("/tools/find", {"Level": _NAMES[level], "Query": query, "Expand": False}))
        except PacsUnavailable as error:
            unknown = [key.attribute.keyword for key in keys if not key.attribute.tag]
            if error.code != "pacs_error" or not unknown:
                raise
            raise InvalidInput(
                "bad_key", f"{', '.join(unknown)}: no attribute by which studies are searched"
            ) from error

    @reading_answer()
    def told(self, orthanc_ids: Sequence[str]) -> dict[str, Texts]:
        """Text values by keyword of some studies, by Orthanc's identifier; one that is gone is left out."""
        return self._kept.told(orthanc_ids)

    @reading_answer()
    def patients(self, orthanc_ids: Sequence[str]) -> list[dict[str, str]]:
        """Text values by keyword of some patients."""
        return [dict(one["MainDicomTags"]) for one in self._content(orthanc_ids, Level.PATIENT)]

    @reading_answer()
    def series(self, orthanc_ids: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
        """Of some series, or of those of some instances: Orthanc's identifier of the study, and text values."""
        return [(one["ParentStudy"], _texts_of_series(one)) for one in self._content(orthanc_ids, Level.SERIES)]

    @reading_answer()
    def instances(self, orthanc_ids: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
        """Of some instances: Orthanc's identifier of the study, and text values, those of the series included."""
        series = {one["ID"]: one for one in self._content(orthanc_ids, Level.SERIES)}
        told = []
        for one in self._content(orthanc_ids, Level.IMAGE, metadata=True):
            parent = series[one["ParentSeries"]]
            own = dict(one["MainDicomTags"]) | {"SOPClassUID": one["Metadata"].get("SopClassUid", "")}
            told.append((parent["ParentStudy"], _texts_of_series(parent) | own))
        return told

    @reading_answer()
    def studies_of(self, orthanc_ids: Sequence[str]) -> list[str]:
        """Orthanc's identifiers of the studies of some patients, or in which some series or instances lie."""
        return [str(one["ID"]) for one in self._content(orthanc_ids, Level.STUDY)] if orthanc_ids else []

    @reading_answer()
    def elements(self, study_instance_uids: Sequence[str], names: Sequence[str]) -> list[dict[str, Any]]:
        """Further attributes of some studies in the DICOM JSON model, which Orthanc reads from their files.

        Args:
            study_instance_uids: whose.
            names: keywords or tags; what Orthanc does not know it leaves out.
        """
        told: list[dict[str, Any]] = []
        for start in range(0, len(study_instance_uids), _IN_ADDRESS):
            some = ",".join(study_instance_uids[start : start + _IN_ADDRESS])
            path = f"/{self._orthanc.dicomweb_root}/studies?StudyInstanceUID={some}&includefield={','.join(names)}"
            accept = {"Accept": "application/dicom+json"}
            told += self._orthanc.ask(self._orthanc.rest.get, path, headers=accept).json()
        return told

    def _described(self, orthanc_ids: Sequence[str]) -> dict[str, Texts]:
        described: dict[str, Texts] = {}
        for start in range(0, len(orthanc_ids), _AT_ONCE):
            some = orthanc_ids[start : start + _AT_ONCE]
            studies = self._content(some, Level.STUDY)
            series: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
            for one in self._content(some, Level.SERIES):
                series[one["ParentStudy"]].append(one)
            described |= {study["ID"]: _texts(study, series[study["ID"]]) for study in studies}
        return described

    def _content(self, orthanc_ids: Sequence[str], level: Level, *, metadata: bool = False) -> list[dict[str, Any]]:
        asked = {"Resources": list(orthanc_ids), "Level": _NAMES[level], "Metadata": metadata}
        return list(self._post("/tools/bulk-content", asked))

    def _post(self, path: str, content: object) -> Any:  # noqa: ANN401 - JSON
        return self._orthanc.ask(self._orthanc.rest.post, path, json=content).json()


def _texts_of_series(series: Mapping[str, Any]) -> dict[str, str]:
    return dict(series["MainDicomTags"]) | {"NumberOfSeriesRelatedInstances": str(len(series["Instances"]))}


def _texts(study: Mapping[str, Any], series: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    modalities = sorted({str(one["MainDicomTags"].get("Modality", "")) for one in series} - {""})
    texts = {str(keyword): str(text) for keyword, text in study["PatientMainDicomTags"].items()}
    texts |= {str(keyword): str(text) for keyword, text in study["MainDicomTags"].items()}
    return texts | {
        "ModalitiesInStudy": "\\".join(modalities),
        "NumberOfStudyRelatedSeries": str(len(series)),
        "NumberOfStudyRelatedInstances": str(sum(len(one["Instances"]) for one in series)),
        "InstanceAvailability": "ONLINE",
    }
