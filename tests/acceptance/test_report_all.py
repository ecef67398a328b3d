"""`firstread report --all`: QA's table out of the PACS, whatever else lies in it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

import worker.pacs
from dicom_sr.table import COLUMNS
from firstread.compose_worker import build_pacs
from firstread.settings import Settings
from tests.acceptance.conftest import RunningSite
from tests.acceptance.test_command import require_one_line, run
from tests.bad_films import BAD_FILMS, chest
from tests.servers import OrthancServer
from tests.sr_films import EDEMA, build, explained, film, scored

YESTERDAY = f"{datetime.now(UTC) - timedelta(days=1):%Y-%m-%d}"


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a table."""
    reader = csv.DictReader(io.StringIO(text))
    assert tuple(reader.fieldnames or ()) == COLUMNS
    return list(reader)


def _without_content(report: Dataset) -> None:
    del report.ContentSequence


def _another_document(report: Dataset) -> None:
    title = report.ConceptNameCodeSequence[0]
    title.CodeValue, title.CodingSchemeDesignator, title.CodeMeaning = "18782-3", "LN", "X-Ray Report"


def _another_maker(report: Dataset) -> None:
    report.Manufacturer = "Another Maker"


def _of_long_ago(report: Dataset) -> None:
    report.SeriesDate = "19991231"


@pytest.fixture(scope="module")
def strangers(running: RunningSite) -> dict[Callable[[Dataset], None], str]:
    """SOP Instance UIDs of what a PACS may hold beside our reports, by what was done to one of ours."""
    sent = chest(41)
    running.send([sent])
    running.done(1)
    pacs = build_pacs(Settings(orthanc_url=running.site.orthanc_url))
    (report,) = pacs.fetch_triage_reports(sent.StudyInstanceUID)
    uids: dict[Callable[[Dataset], None], str] = {}
    for change in (_without_content, _another_document, _another_maker, _of_long_ago):
        other = pydicom.dcmread(io.BytesIO(_encoded(report)))
        change(other)
        other.StudyInstanceUID, other.SeriesInstanceUID = generate_uid(), generate_uid()
        other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = uids[change] = generate_uid()
        pacs.store([other])
    return uids


def _encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def test_the_table_is_the_record(
    running: RunningSite, strangers: dict[Callable[[Dataset], None], str], tmp_path: Path
) -> None:
    """Every report of the days asked for is there with its exact numbers; what cannot be read is named and counted."""
    sent = chest(42)
    sent.AccessionNumber = '=1+"ü"'
    sent.SpecificCharacterSet = "ISO_IR 100"
    sent.StationName, sent.CurrentPatientLocation, sent.RequestedProcedurePriority = "CR1", "5 B", "LOW"
    bad = BAD_FILMS["blank"](tmp_path)
    bad_uid = str(pydicom.dcmread(bad, stop_before_pixels=True).StudyInstanceUID)
    running.send([sent, bad])
    item = running.done(2)[sent.StudyInstanceUID]
    table = tmp_path / "qa.csv"

    result = run("report", "--all", "--since", YESTERDAY, "--csv", table, environment=running.site.environment)

    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    data = table.read_bytes()
    assert data.startswith(b"\xef\xbb\xbf"), "Excel takes a file without byte order mark for the local code page"
    assert data.count(b"\r\n") == data.count(b"\n")
    found = rows(data.decode("utf-8-sig"))
    of_sent = [row for row in found if row["study_instance_uid"] == sent.StudyInstanceUID]
    assert {(row["finding"], float(row["probability"]), float(row["threshold"])) for row in of_sent} == {
        (finding["name"], finding["probability"], finding["threshold"]) for finding in item["findings"]
    }
    assert {row["finding"]: (row["shown"], row["named"]) for row in of_sent} == {
        finding["name"]: tuple("yes" if finding[answer] else "no" for answer in ("shown", "named"))
        for finding in item["findings"]
    }
    (report,) = running.reports(sent.StudyInstanceUID)
    assert report.card
    for row in of_sent:
        assert row["accession_number"] == '\'=1+"ü"', "no spreadsheet may take it for a formula"
        assert row["study_date"] == "2026-01-02"
        assert float(row["score"]) == item["score"]
        assert (row["urgency"], row["state"], row["revision"]) == (item["urgency"], "reported", "1")
        assert (row["model_name"], row["model_sha256"]) == (item["model"]["name"], item["model"]["sha256"])
        assert abs(datetime.fromisoformat(row["received"]) - datetime.fromisoformat(item["received_at"])).seconds <= 1
        assert datetime.fromisoformat(row["stored"]) >= datetime.fromisoformat(row["received"])
        assert report.triage
        assert (row["policy_sha256"], float(row["harm"])) == (report.triage.policy_digest, item["harm"])
        assert row["source_sop_instance_uid"] == sent.SOPInstanceUID
        assert (row["station"], row["ward"], row["order_priority"]) == ("CR1", "5 B", "LOW")
        assert (row["patient_id"], row["view"]) == (sent.PatientID, sent.ViewPosition)
        assert row["explainer_version"].startswith("Firstread template ")
        assert row["report_sop_instance_uid"] == report.sop_instance_uid
        assert (row["failure_code"], row["reader_feedback"]) == ("", "")
    failed = [row for row in found if row["study_instance_uid"] == bad_uid]
    assert {row["finding"] for row in failed} == {found.type.label for found in report.card.findings}
    assert {(row["state"], row["failure_code"], row["probability"]) for row in failed} == {
        ("failed", "blank_image", "")
    }

    lines = result.stderr.splitlines()
    named = {uid for line in lines[:-1] for uid in strangers.values() if f"SR {uid} of" in line}
    assert named == {strangers[change] for change in (_without_content, _another_document)}
    assert all(line.startswith("firstread: passed over SR ") for line in lines[:-1])
    reports = {row["report_sop_instance_uid"] for row in found}
    assert lines[-1] == f"firstread: {len(reports)} reports in the table, {len(lines) - 1} passed over, see above"
    assert not reports & set(strangers.values())
    assert not list(tmp_path.glob("*.part"))


def test_a_table_for_others_names_nobody(running: RunningSite, tmp_path: Path) -> None:
    """With a key of pseudonyms no identifier, date, station or ward of a film is in it, and all rows are."""
    sent = chest(43)
    sent.PatientID, sent.AccessionNumber = "PAT-990077", "ACC-990077"
    sent.StationName, sent.CurrentPatientLocation = "CR-990077", "WARD-990077"
    before = len(running.done(1))
    running.send([sent])
    running.done(before + 1)
    plain = run("report", "--all", "--since", YESTERDAY, environment=running.site.environment)
    assert {"PAT-990077", "ACC-990077", "CR-990077", "WARD-990077"} <= set(plain.stdout.replace("\n", ",").split(","))
    key = tmp_path / "key"
    key.write_text("ab" * 32, encoding="utf-8")
    arguments = ("report", "--all", "--since", YESTERDAY, "--deidentified", key)
    shared = run(*arguments, environment=running.site.environment)
    assert shared.returncode == 0, shared.stderr
    assert len(rows(shared.stdout)) == len(rows(plain.stdout))
    for known in (sent.StudyInstanceUID, sent.SOPInstanceUID, "990077", "2026-01-02"):
        assert known not in shared.stdout


def test_without_a_file_it_prints(running: RunningSite, strangers: dict[Callable[[Dataset], None], str]) -> None:
    """On stdout there is the same table without byte order mark, and without --since the oldest report is in it."""
    result = run("report", "--all", environment=running.site.environment)
    assert result.returncode == 0
    assert result.stdout.startswith("study_instance_uid,accession_number,")
    assert strangers[_of_long_ago] in {row["report_sop_instance_uid"] for row in rows(result.stdout)}


def test_the_days_asked_for_are_in_the_table(
    running: RunningSite, strangers: dict[Callable[[Dataset], None], str]
) -> None:
    """Both the first and the last day count; with a last day alone everything before it is there."""

    def found(*days: str) -> set[str]:
        result = run("report", "--all", *days, environment=running.site.environment)
        assert result.returncode == 0, result.stderr
        return {row["report_sop_instance_uid"] for row in rows(result.stdout)}

    old, everything = strangers[_of_long_ago], found()
    assert found("--until", "1999-12-31") == {old}
    assert found("--since", "1999-12-31", "--until", "1999-12-31") == {old}
    assert found("--until", "1999-12-30") == set()
    assert found("--since", "2000-01-01", "--until", "2999-01-01") == everything - {old}


def test_pages_add_up(
    running: RunningSite, strangers: dict[Callable[[Dataset], None], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the pages, each report is found once."""
    pacs = build_pacs(Settings(orthanc_url=running.site.orthanc_url))
    at_once, unreadable = pacs.find_triage_reports()
    assert unreadable == 0
    monkeypatch.setattr(worker.pacs, "_PAGE", 2)
    paged, _ = pacs.find_triage_reports()
    assert len(paged) == len(at_once) > 2
    assert set(paged) == set(at_once)
    assert strangers[_another_maker] not in {reference.sop_instance_uid for reference in paged}
    assert pacs.find_triage_reports(datetime(2999, 1, 1, tzinfo=UTC).date()) == ([], 0)


def test_a_file_that_the_pacs_lost_half_of_hides_no_other(orthanc: OrthancServer, server_folder: Path) -> None:
    """Orthanc refuses each answer with a damaged file in it; all others are in the table, and that one is counted."""
    pacs = build_pacs(Settings(orthanc_url=orthanc.url))
    reports = []
    for number in range(5):
        uid = f"1.2.3.{number}"
        source = film(StudyInstanceUID=uid)
        results = build(explained(scored(source, EDEMA)), source=source)
        pacs.store(results.objects)
        reports.append(str(results.triage_report.SOPInstanceUID))
    _cut(server_folder / "orthanc", reports[2])
    orthanc.stop()  # it keeps files in memory
    orthanc.start()
    result = run("report", "--all", environment={"FIRSTREAD_ORTHANC_URL": orthanc.url})
    assert result.returncode == 0, result.stderr
    assert {row["report_sop_instance_uid"] for row in rows(result.stdout)} == {*reports} - {reports[2]}
    assert {row["received"] for row in rows(result.stdout)} == {""}, "the film is not in this PACS"
    assert result.stderr.splitlines() == [
        "firstread: the PACS cannot read 1 of its SRs: see Orthanc's log",
        "firstread: 4 reports in the table, 1 passed over, see above",
    ]


def _cut(folder: Path, sop_instance_uid: str) -> None:
    """Let a disk lose the second half of the file of an SR."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("index")]
    meta = b"\x02\x00\x03\x00UI"  # Media Storage SOP Instance UID (0002,0003)
    (file,) = [path for path in files if sop_instance_uid.encode() in path.read_bytes().partition(meta)[2][:80]]
    file.write_bytes(file.read_bytes()[:700])


def test_a_silent_pacs_leaves_no_half_table(tmp_path: Path) -> None:
    """Where Orthanc does not answer there is one line, exit code 1, and no file at all."""
    environment = {"FIRSTREAD_ORTHANC_URL": "http://127.0.0.1:9"}
    line = require_one_line(run("report", "--all", "--csv", tmp_path / "qa.csv", environment=environment), 1)
    assert "no answer from Orthanc" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["report"],
        ["report", "1.2.3", "--all"],
        ["report", "--all", "--json"],
        ["report", "1.2.3", "--csv", "qa.csv"],
        ["report", "--all", "--since", "yesterday"],
        ["report", "1.2.3", "--until", "2026-11-30"],
        ["report", "--all", "--until", "31.11.2026"],
        ["report", "--all", "--since", "2026-11-02", "--until", "2026-11-01"],
        ["report", "--all", "--csv", "missing/qa.csv"],
        ["report", "--all", "--csv", "."],
    ],
)
def test_bad_usage_is_one_line(arguments: list[str]) -> None:
    """What does not go together is refused with exit code 2."""
    require_one_line(run(*arguments), 2)
