"""What must hold after every fault, whichever it was."""

from __future__ import annotations

import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cache
from typing import Any

import httpx
import pydicom
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedSRStorage
from sqlalchemy import text

from dicom_sr.parse import TriageReport, parse
from firstread.compose_worker import build_scorer
from firstread.settings import Settings
from imaging.radiograph import read_radiograph
from models import Scorer
from tests.faults.films import is_scored
from tests.faults.site import Site
from worklist.finding import Analysis, merge
from worklist.order import OrderPriority
from worklist.triage import SiteChoices, TriagePolicy, assess, queue_at

_ROUNDED = timedelta(milliseconds=2)  # the interface tells moments in milliseconds
_MORE_MEMORY_MB, _MORE_FILES = 100, 20

_scored: dict[bytes, Analysis] = {}  # by the pixels


class Kind(StrEnum):
    """Which promise is broken."""

    LOST = "lost"  # a film is not listed in its final state, or something is listed that is not there
    DOUBLED = "doubled"
    MISSING = "missing"  # a result is not in the PACS
    WRONG = "wrong"  # score, order, memory, open files, or what /ready says


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """One broken promise, in words."""

    kind: Kind
    what: str


def violations(
    site: Site, items: Mapping[str, Mapping[str, Any]] | None, *, pacs_loses: bool = False
) -> list[Violation]:
    """Everything that is wrong with the list and the PACS; nothing where all is well.

    All films that Orthanc holds are listed in their final state, with the score that this process computes, in the
    order of these scores; each study has one current result set, which lies in the PACS whole; nothing of ours in the
    PACS is doubled, or unknown to the records.

    Args:
        site: whose work is done.
        items: its list by Study Instance UID; None where that does not answer.
        pacs_loses: whether Orthanc itself was made to lose films.
    """
    if items is None:
        return [_lost("the list does not answer")]
    objects = own_objects(site)
    held, images = site.held(), site.held_images()
    sent = {uid: [one for one in taken if one.SOPInstanceUID in images] for uid, taken in site.stream.studies.items()}
    taken = {str(image.SOPInstanceUID) for taken in site.stream.studies.values() for image in taken}
    return [
        *(_lost(f"{uid}: taken by Orthanc, and lost by it") for uid in taken - images if not pacs_loses),
        *(_lost(f"{uid}: listed, but not in the PACS") for uid in items.keys() - held),
        *(_lost(f"{uid}: not listed") for uid in sent.keys() & held - items.keys()),
        *(
            broken
            for uid in sorted(sent.keys() & held & items.keys())
            for broken in _of_study(uid, items[uid], sent[uid], objects[uid])
        ),
        *_of_results(site, objects),
        *_of_order(items, sent),
    ]


def lacking(site: Site, studies: set[str]) -> set[str]:
    """The current results of some studies that Orthanc lacks, by SOP Instance UID.

    What is still in the making is in no record, and what is written meanwhile is none of them: the records come first.
    """
    known = _known_results(site)
    held, lies = site.held() & studies, site.held_images()
    return {uid for study, uid, is_current in known if is_current and study in held and uid not in lies}


def growth(before: Mapping[str, tuple[float, int]], after: Mapping[str, tuple[float, int]]) -> list[Violation]:
    """Programs whose memory or open files have grown beyond those of any program of their kind before.

    A worker that has not done anything yet is smaller than it will be for good.

    Args:
        before: memory in MB and open files by name, as Hospital.sizes gives them.
        after: the same, later.
    """
    kinds: dict[str, tuple[float, int]] = {}
    for name, (memory_mb, files) in before.items():
        most_mb, most_files = kinds.get(_kind(name), (0.0, 0))
        kinds[_kind(name)] = (max(most_mb, memory_mb), max(most_files, files))
    return [
        _wrong(f"{name}: {memory_mb - kinds[_kind(name)][0]:.0f} MB, {files - kinds[_kind(name)][1]} open files more")
        for name, (memory_mb, files) in after.items()
        if _kind(name) in kinds
        and (memory_mb > kinds[_kind(name)][0] + _MORE_MEMORY_MB or files > kinds[_kind(name)][1] + _MORE_FILES)
    ]


def _kind(name: str) -> str:
    return name.partition("-")[0]


def _of_study(
    uid: str, item: Mapping[str, Any], images: Sequence[Dataset], objects: Sequence[Dataset]
) -> Iterator[Violation]:
    scored = [image for image in images if is_scored(image)]
    expected = "reported" if scored else "out_of_scope"
    if item["state"] != expected:
        yield _lost(f"{uid}: {item['state']} instead of {expected} ({item['failure']})")
        return
    reports = [parse(one) for one in objects if one.SOPClassUID == EnhancedSRStorage]
    for revision, count in Counter(one.revision for one in reports).items():
        if count > 1:
            yield Violation(kind=Kind.DOUBLED, what=f"{uid}: {count} AI triage reports of revision {revision}")
    if any(image.SOPClassUID != CTImageStorage for image in images) and not reports:
        yield _missing(f"{uid}: no AI triage report")
    elif scored:
        yield from _of_scores(uid, item, scored, max(reports, key=lambda one: one.revision))


def _of_scores(
    uid: str, item: Mapping[str, Any], scored: Sequence[Dataset], current: TriageReport
) -> Iterator[Violation]:
    analysis = merge([_score(image) for image in scored])
    if item["score"] != analysis.score:
        yield _wrong(f"{uid}: the list says {item['score']}, the films {analysis.score}")
    told = current.analysis
    if told is None or told.score != analysis.score:
        yield _wrong(f"{uid}: the current report says {told.score if told else 'a failure'}, not {analysis.score}")
    elif {one.sop_instance_uid for one in told.images} != {str(image.SOPInstanceUID) for image in scored}:
        yield _wrong(f"{uid}: the current report is not of the films that the study has")
    if current.series_instance_uid not in item["result_series_uids"]:
        yield _wrong(f"{uid}: the current report is not that of the list")


def _of_results(site: Site, objects: Mapping[str, Sequence[Dataset]]) -> Iterator[Violation]:
    held = site.held()
    lies = {str(one.SOPInstanceUID) for own in objects.values() for one in own}
    known = _known_results(site)
    for study, uid, is_current in known:
        if is_current and study in held and uid not in lies:
            yield _missing(f"{study}: the result {uid}")
    for uid in lies - {uid for _, uid, _ in known}:
        yield Violation(kind=Kind.DOUBLED, what=f"an object of ours in the PACS that the records do not know: {uid}")


def _known_results(site: Site) -> list[tuple[str, str, bool]]:
    """What the records say was written: study, object, and whether it is of the study's present revision."""
    written = (
        "SELECT s.study_instance_uid, r.sop_instance_uid, r.revision = s.revision FROM results r "
        "JOIN studies s ON s.orthanc_id = r.study_orthanc_id"
    )
    with closing(site.database) as database, database.read() as session:
        return [(study, uid, bool(is_current)) for study, uid, is_current in session.execute(text(written))]


def _of_order(items: Mapping[str, Mapping[str, Any]], sent: Mapping[str, Sequence[Dataset]]) -> Iterator[Violation]:
    policy = TriagePolicy.of(_scorer().card, SiteChoices())
    for uid in sent.keys() & items.keys():
        scored = [image for image in sent[uid] if is_scored(image)]
        triage = assess(merge([_score(image) for image in scored]), policy) if scored else None
        item = items[uid]
        place = queue_at(_moment(item["received_at"]), OrderPriority(item["order_priority"]), triage, policy.site)
        if abs(place - _moment(item["queue_at"])) > _ROUNDED:
            yield _wrong(f"{uid}: stands at {item['queue_at']}, by its films at {place}")
    ordered = sorted(items.values(), key=lambda item: int(item["rank"]))
    # What is read stands behind the list.
    is_read = [item["reading"]["state"] == "read" for item in ordered]
    keys = [(item["order_priority"] != "STAT", _moment(item["queue_at"])) for item in ordered[: is_read.count(False)]]
    if (
        is_read != sorted(is_read)
        or keys != sorted(keys)
        or [item["rank"] for item in ordered] != list(range(1, len(ordered) + 1))
    ):
        yield _wrong("the list is not in the order of its keys")


def _lost(what: str) -> Violation:
    return Violation(kind=Kind.LOST, what=what)


def _missing(what: str) -> Violation:
    return Violation(kind=Kind.MISSING, what=f"{what} is not in the PACS")


def _wrong(what: str) -> Violation:
    return Violation(kind=Kind.WRONG, what=what)


def own_objects(site: Site) -> dict[str, list[Dataset]]:
    """What Firstread wrote and Orthanc holds, by Study Instance UID; pixels left out."""
    found: dict[str, list[Dataset]] = defaultdict(list)
    with httpx.Client(base_url=site.orthanc_url, trust_env=False, timeout=60) as http:
        asked = {"Level": "Series", "Query": {"Manufacturer": "Firstread"}, "Expand": True}
        for series in http.post("/tools/find", json=asked).raise_for_status().json():
            if series["MainDicomTags"].get("Modality") not in {"SR", "OT", "PR", "KO"}:
                continue  # a film whose device bears our name
            for orthanc_id in series["Instances"]:
                file = io.BytesIO(http.get(f"/instances/{orthanc_id}/file").raise_for_status().content)
                dataset = pydicom.dcmread(file, stop_before_pixels=True)
                found[str(dataset.StudyInstanceUID)].append(dataset)
    return found


@cache
def _scorer() -> Scorer:
    return build_scorer(Settings())


def _score(image: Dataset) -> Analysis:
    # A film that is the same but for its names gets the same score; it is computed once.
    if image.PixelData not in _scored:
        _scored[image.PixelData] = _scorer().score(read_radiograph(image))
    analysis = _scored[image.PixelData]
    (reference,) = analysis.images
    own = replace(
        reference,
        study_instance_uid=str(image.StudyInstanceUID),
        series_instance_uid=str(image.SeriesInstanceUID),
        sop_instance_uid=str(image.SOPInstanceUID),
    )
    return replace(analysis, images=(own,))


def _moment(text_of_it: str) -> datetime:
    return datetime.fromisoformat(text_of_it)
