"""What of our own results a study has in the PACS, read back from there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import structlog
from pydicom.uid import EnhancedSRStorage, SecondaryCaptureImageStorage

from dicom_sr.build import revision_of_series
from dicom_sr.parse import TriageReport, parse
from worker.pacs import Pacs, StoredSeries
from worklist.errors import InvalidInput, UnusableImage
from worklist.records import FoundReport, FoundReports, StoredResult

log = structlog.get_logger()


def find_reports(pacs: Pacs, series: Sequence[StoredSeries]) -> FoundReports:
    """The reports of a study, with all objects of each.

    All objects of a revision have its series numbers and one time; a report that cannot be read is counted, and named
    in the log.

    Args:
        pacs: where they lie.
        series: those of the study that are ours.
    """
    reports: list[FoundReport] = []
    sets: dict[tuple[int, str], list[StoredSeries]] = {}
    for one in series:
        sets.setdefault(_moment(one), []).append(one)
    sets = {moment: own for moment, own in sets.items() if moment[0] > 0}  # whatever else bears our name
    highest = max((revision for revision, _ in sets), default=0)
    for own in sets.values():
        results = [result for one in own for result in _results(pacs, one)]
        for orthanc_id, result in results:
            report = _read(pacs, orthanc_id) if result.sop_class_uid == EnhancedSRStorage else None
            if report:
                reports.append(_found(report, tuple(result for _, result in results)))
    reports.sort(key=lambda report: (report.revision, report.reported_at))
    return FoundReports(reports=tuple(reports), highest=highest)


def _moment(series: StoredSeries) -> tuple[int, str]:
    tags = series.tags
    number = tags.get("SeriesNumber", "").strip()
    revision = revision_of_series(int(number)) if number.isdecimal() else 0
    return revision, f"{tags.get('SeriesDate')} {tags.get('SeriesTime')}"


def _results(pacs: Pacs, series: StoredSeries) -> Iterator[tuple[str, StoredResult]]:
    """The objects of a series with Orthanc's identifiers, crops counted from 1 and the rest at 0."""
    found = [(orthanc_id, pacs.indexed(orthanc_id)) for orthanc_id in series.instances]
    found.sort(key=lambda pair: int(pair[1].get("InstanceNumber", "0")))
    pictures = [orthanc_id for orthanc_id, tags in found if tags["SOPClassUID"] == SecondaryCaptureImageStorage]
    # Behind the crops lies an overview of each image that has any.
    crops = len(pictures) - len(set(map(pacs.source_image, pictures)))
    for place, (orthanc_id, tags) in enumerate(found, start=1):
        is_crop = orthanc_id in pictures[:crops]
        yield (
            orthanc_id,
            StoredResult(
                sop_instance_uid=tags["SOPInstanceUID"],
                series_instance_uid=series.tags["SeriesInstanceUID"],
                sop_class_uid=tags["SOPClassUID"],
                position=place if is_crop else 0,
            ),
        )


def _read(pacs: Pacs, orthanc_id: str) -> TriageReport | None:
    try:
        return parse(pacs.read(orthanc_id))
    except (InvalidInput, UnusableImage) as error:
        log.warning("a report of ours cannot be read back", orthanc_id=orthanc_id, code=error.code)
        return None


def _found(report: TriageReport, results: tuple[StoredResult, ...]) -> FoundReport:
    return FoundReport(
        revision=report.revision,
        analysis=report.analysis,
        failure=report.failure,
        source_sop_instance_uid=report.source.sop_instance_uid,
        policy=report.policy,
        unscored=report.unscored,
        reported_at=report.reported_at,
        results=results,
    )
