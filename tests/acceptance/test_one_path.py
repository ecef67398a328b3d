"""A film's whole way, from C-STORE to the top of the list and into the PACS, on the real programs."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import BasicTextSRStorage, CTImageStorage, generate_uid

from imaging.files import read_image_file
from imaging.wrapping import complete_file_meta
from tests.acceptance.conftest import RunningSite, film_with_effusion
from tests.bad_films import BAD_FILMS, chest
from worklist.finding import FindingType
from worklist.triage import Urgency


def _require_one_report(running: RunningSite, study_instance_uid: str) -> None:
    """One AI triage report, and every object once."""
    assert [report.revision for report in running.reports(study_instance_uid)] == [1]
    uids = [header["SOPInstanceUID"] for header in running.own_objects(study_instance_uid)]
    assert uids
    assert len(uids) == len(set(uids))


def test_film_is_scored_placed_and_reported(running: RunningSite) -> None:
    """A chest film sent by C-STORE ends up reported, with an SR and crops in the PACS that say what the list says."""
    film = film_with_effusion(1)
    running.send([film])
    item = running.done(1)[film.StudyInstanceUID]
    assert item["state"] == "reported"
    pictures = [header for header in running.own_objects(film.StudyInstanceUID) if header["Modality"] == "OT"]
    assert 1 <= item["crop_count"] <= 3
    assert len(pictures) in {1, item["crop_count"] + 1}, "the whole film comes after the crops, or is the only one"
    assert item["explanation"]
    (report,) = running.reports(film.StudyInstanceUID)
    assert report.analysis is not None
    assert report.analysis.score == item["score"], "the SR and the list hold the same number, to the last digit"
    assert report.urgency == Urgency(item["urgency"])
    assert report.series_instance_uid in item["result_series_uids"]
    crop = httpx.get(f"{running.site.gateway_url}/worklist/{film.StudyInstanceUID}/crops/1.png", trust_env=False)
    assert crop.content.startswith(b"\x89PNG")


def test_list_is_in_the_order_of_its_keys(running: RunningSite) -> None:
    """STAT orders come first, everything else by queue_at, and the ranks count from one."""
    stat = chest(2)
    stat.RequestedProcedurePriority = "STAT"
    running.send([chest(3), stat, chest(4)])
    to_be_read = [item for item in running.done(3).values() if item["reading"]["state"] in {"unread", "reading"}]
    items = sorted(to_be_read, key=lambda item: item["rank"])
    assert [item["rank"] for item in items] == list(range(1, len(items) + 1))
    keys = [(item["order_priority"] != "STAT", datetime.fromisoformat(item["queue_at"])) for item in items]
    assert keys == sorted(keys)
    assert items[0]["study_instance_uid"] == stat.StudyInstanceUID


def test_a_read_study_leaves_the_list_and_returns_for_a_new_film(running: RunningSite) -> None:
    """A study that somebody has read is gone from the list at once, and comes back, marked, with its next film."""
    film = chest(31)
    running.send([film])
    running.done(1)
    assert film.StudyInstanceUID in _to_be_read(running)
    address = f"{running.site.gateway_url}/worklist/{film.StudyInstanceUID}/state"
    answer = httpx.put(address, json={"state": "read", "by": "Dr. Nowak"}, trust_env=False)
    assert answer.is_success, answer.text
    assert film.StudyInstanceUID not in _to_be_read(running)
    item = running.done(1)[film.StudyInstanceUID]
    assert (item["reading"]["state"], item["reading"]["by"]) == ("read", "Dr. Nowak")
    running.send([_sibling(film, 32)])
    running.done(1)
    assert _to_be_read(running)[film.StudyInstanceUID]["reading"]["returned_for"] == "new image"


def test_a_radiologists_report_takes_its_study_off_the_list(running: RunningSite) -> None:
    """A verified SR of somebody else's, sent by C-STORE, is known to be the reading of its study."""
    film = chest(33)
    running.send([film])
    running.done(1)
    running.send([_verified_report(film)])
    deadline = time.monotonic() + 60
    while film.StudyInstanceUID in _to_be_read(running):
        assert time.monotonic() < deadline, "the report changed nothing"
        time.sleep(0.2)
    reading = running.done(1)[film.StudyInstanceUID]["reading"]
    assert (reading["state"], reading["by"]) == ("read", "Nowak, Anna")


def _to_be_read(running: RunningSite) -> dict[str, dict[str, Any]]:
    answer = httpx.get(f"{running.site.gateway_url}/worklist?limit=1000", trust_env=False).json()
    return {item["study_instance_uid"]: item for item in answer["items"]}


def _verified_report(film: Dataset) -> Dataset:
    report, observer, concept = Dataset(), Dataset(), Dataset()
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber", "StudyDate", "StudyTime"):
        setattr(report, keyword, film[keyword].value)
    report.SOPClassUID, report.SOPInstanceUID = BasicTextSRStorage, generate_uid()
    report.SeriesInstanceUID, report.Modality = generate_uid(), "SR"
    report.CompletionFlag, report.VerificationFlag, report.ValueType = "COMPLETE", "VERIFIED", "CONTAINER"
    observer.VerifyingObserverName = "Nowak^Anna"
    concept.CodeValue, concept.CodingSchemeDesignator, concept.CodeMeaning = "18748-4", "LN", "Diagnostic imaging"
    report.VerifyingObserverSequence, report.ConceptNameCodeSequence = [observer], [concept]
    complete_file_meta(report)
    return report


def test_own_objects_start_no_job(running: RunningSite) -> None:
    """What Firstread stores comes back through the feed and changes nothing."""
    film = film_with_effusion(5)
    running.send([film])
    before = running.done(1)[film.StudyInstanceUID]
    later = chest(17)
    running.send([later])  # once it is reported, what came before it has gone through the feed, and been quiet as long
    items = running.done(1)
    assert items[later.StudyInstanceUID]["state"] == "reported"
    after = items[film.StudyInstanceUID]
    assert after["result_series_uids"] == before["result_series_uids"]
    _require_one_report(running, film.StudyInstanceUID)


def test_late_image_makes_one_new_revision(running: RunningSite) -> None:
    """Two films that arrive after the report make exactly one further revision, which names its predecessor."""
    first = chest(6)
    running.send([first])
    running.done(1)
    late = [_sibling(first, seed) for seed in (7, 8)]
    running.send(late)
    item = running.done(1)[first.StudyInstanceUID]
    assert item["state"] == "reported"
    reports = running.reports(first.StudyInstanceUID)
    assert [report.revision for report in reports] == [1, 2]
    assert reports[1].series_instance_uid in item["result_series_uids"]
    assert reports[0].series_instance_uid not in item["result_series_uids"]


def test_a_refused_radiograph_gets_a_report_that_says_why(running: RunningSite) -> None:
    """A lateral film, a knee and a child get one triage report each, a CT none; a late frontal film is reported too."""
    lateral, knee, child, ct = (chest(seed) for seed in range(12, 16))
    lateral.ViewPosition = "LL"
    knee.StudyDescription, knee.BodyPartExamined = "Knee AP", "KNEE"
    child.PatientBirthDate = "20200101"
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = CTImageStorage
    ct.Modality = "CT"
    reasons = [(lateral, "lateral_view"), (knee, "not_chest"), (child, "child")]
    refused = [film for film, _ in reasons]
    running.send([ct, *refused])
    items = _reported(running, *refused)
    for film, code in reasons:
        item = items[film.StudyInstanceUID]
        assert (item["state"], item["failure"]["code"], item["score"]) == ("out_of_scope", code, None)
        (report,) = running.reports(film.StudyInstanceUID)
        assert report.failure is not None
        assert (report.failure.code, report.failure.message) == (code, item["failure"]["message"])
        assert report.source.sop_instance_uid == film.SOPInstanceUID
        assert FindingType.PLEURAL_EFFUSION in report.looked_for
        assert item["result_series_uids"] == [report.series_instance_uid]
    running.send(refused)  # once more, and by now our own reports have come back through the feed, too
    late = _sibling(lateral, 16)
    running.send([late])
    item = _reported(running, late, after=items[late.StudyInstanceUID]["result_series_uids"])[late.StudyInstanceUID]
    assert (item["state"], item["failure"]) == ("reported", None)
    refusal, result = running.reports(lateral.StudyInstanceUID)
    assert (refusal.revision, result.revision) == (1, 2)
    assert result.analysis is not None
    (header,) = (
        header
        for header in running.own_objects(late.StudyInstanceUID)
        if header["SOPInstanceUID"] == result.sop_instance_uid
    )
    assert refusal.sop_instance_uid in str(header["PredecessorDocumentsSequence"])
    for film in (knee, child):
        assert [header["Modality"] for header in running.own_objects(film.StudyInstanceUID)] == ["SR"]
    assert items[ct.StudyInstanceUID]["state"] == "out_of_scope"
    assert running.own_objects(ct.StudyInstanceUID) == []


def _reported(running: RunningSite, *films: Dataset, after: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """The reading list, once each of these studies has results, and others than those of before."""
    deadline = time.monotonic() + 60
    while True:
        items = running.done(1)
        if all(items[film.StudyInstanceUID]["result_series_uids"] not in ([], list(after)) for film in films):
            return items
        assert time.monotonic() < deadline, "no report was written"
        time.sleep(0.3)


def test_other_pixels_under_one_uid_are_scored_again(running: RunningSite) -> None:
    """A SOP Instance UID that comes twice with different pixels makes a new revision of the new pixels."""
    film = chest(9)
    running.send([film])
    first = running.done(1)[film.StudyInstanceUID]
    other = chest(10)
    film.PixelData = other.PixelData
    running.send([film])
    second = running.done(1)[film.StudyInstanceUID]
    assert second["score"] != first["score"]
    assert running.reports(film.StudyInstanceUID)[-1].revision == 2


EXPECTED: dict[str, tuple[str, str | None]] = {
    "truncated_pixel_data": ("failed", "pixel_data_truncated"),
    "no_pixel_data": ("failed", "no_pixel_data"),
    "missing_patient_id": ("reported", None),
    "unsupported_transfer_syntax": ("failed", "unsupported_transfer_syntax"),
    "corrupt_jpeg_2000": ("failed", "pixel_data_damaged"),
    "blank": ("failed", "blank_image"),
    "one_pixel": ("failed", "image_too_small"),
    "huge": ("failed", "image_too_large"),
    "nan_rescale_slope": ("failed", "invalid_rescale"),
    "window_center_text": ("reported", None),
    "rows_as_text": ("reported", None),
    "sr": ("out_of_scope", "not_an_image"),
    "ct_slice": ("out_of_scope", "not_a_radiograph"),
    "japanese_name": ("reported", None),
    "two_studies_one_accession_number": ("reported", None),
    "one_sop_instance_uid_twice": ("reported", None),
}


def test_bad_films_end_with_their_own_reasons_and_block_nobody(running: RunningSite, tmp_path: Path) -> None:
    """Every bad input ends failed, out of scope or handled, and a good film behind them all is reported."""
    files = {}
    for name, write in BAD_FILMS.items():
        folder = tmp_path / name
        folder.mkdir()
        files[name] = write(folder)
    good = chest(11)
    running.send([path for written in files.values() for path in _files(written)])
    running.send([good])
    items = running.done(1)
    assert items[good.StudyInstanceUID]["state"] == "reported"
    found = {
        name: {(items[uid]["state"], (items[uid]["failure"] or {}).get("code")) for uid in _study_uids(written)}
        for name, written in files.items()
    }
    assert found == {name: {expected} for name, expected in EXPECTED.items()}
    for name, (state, _) in EXPECTED.items():
        for uid in _study_uids(files[name]) if state == "failed" else ():
            (report,) = running.reports(uid)
            assert report.failure is not None, "a failed study holds a report that says so"
            assert report.failure.code == items[uid]["failure"]["code"]
    (japanese,) = _study_uids(files["japanese_name"])
    assert "山田" in items[japanese]["patient_name"]


@pytest.mark.parametrize("victim", ["worker-score", "worker-report", "redis", "gateway"])
def test_sudden_death_loses_and_doubles_nothing(running: RunningSite, victim: str) -> None:
    """SIGKILL of any program in the middle of the work: every study is still reported exactly once."""
    films = [chest(100 + number) for number in range(8)]
    running.send(films[:4])
    time.sleep(0.7)
    os.killpg(running.supervisor.pid(victim), signal.SIGKILL)  # Redis keeps nothing: its memory is lost too
    running.send(films[4:])
    items = running.done(8)
    for film in films:
        assert items[film.StudyInstanceUID]["state"] == "reported"
        _require_one_report(running, film.StudyInstanceUID)


def _sibling(film: Dataset, seed: int) -> Dataset:
    """Another film of the same study."""
    other = chest(seed)
    for keyword in ("StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber"):
        setattr(other, keyword, film[keyword].value)
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return other


def _files(written: Path) -> list[Path]:
    return sorted(written.iterdir()) if written.is_dir() else [written]


def _study_uids(written: Path) -> set[str]:
    return {str(read_image_file(file).StudyInstanceUID) for file in _files(written)}
