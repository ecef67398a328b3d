"""Whose a film, a name and a result are, from Orthanc to the list and back, with the real models."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from firstread.read_back import read_report
from firstread.settings import Settings
from gateway.intake.orthanc import OrthancClient
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import GatedScorer
from models.template import TemplateExplainer
from tests.bad_films import chest
from tests.hospitals import Site, film
from tests.servers import OrthancServer
from worker.explaining import Explaining
from worker.pacs import Pacs
from worker.priors import PriorFinder
from worker.report import ReportPipeline
from worker.score import ScorePipeline
from worklist.errors import InvalidInput, UnusableImage
from worklist.job import Queue
from worklist.records import Database, ExplanationRecords, ListedStudy, Shown, Worklist
from worklist.records.tables import InstanceRow
from worklist.scope import ScopeRules
from worklist.study import StudyState
from worklist.triage import SiteChoices, TriagePolicy

SCORER = GatedScorer(EmbeddedScorer())
SHARED = "Another patient has the same Study Instance UID"

pytestmark = pytest.mark.parametrize("database", ["sqlite"], indirect=True)


class Hospital(Site):
    """A hospital with real workers."""

    def take_in(self) -> None:
        """Read the feed, and do all work that there is; a study is complete at once."""
        intake = self.intake(quiet=timedelta(0))
        intake.look()
        pacs = Pacs(self.orthanc.url, auth=None)
        for job_id in self.jobs_due(Queue.SCORE):
            ScorePipeline(jobs=self.jobs, pacs=pacs, scorer=SCORER).run(job_id)
        intake.tick()
        records = ExplanationRecords(self.database)
        report = ReportPipeline(
            jobs=self.jobs,
            pacs=pacs,
            explaining=Explaining(TemplateExplainer(), records),
            priors=PriorFinder(pacs, records, scope=ScopeRules),
        )
        for job_id in self.jobs_due(Queue.REPORT):
            report.run(job_id)
        self.gateways.close()

    def patrol(self) -> None:
        """Let time pass, and compare every study with Orthanc."""
        for _ in range(1 + len(self.rows())):
            self.ahead += timedelta(minutes=2)
            self.intake(quiet=timedelta(0)).look()
            self.gateways.close()

    def rows(self) -> dict[str, ListedStudy]:
        """All studies by Patient ID."""
        return {line.patient_id: line for line in Worklist(self.database, self.rules).page(shown=Shown.ALL)[1]}

    def headers(self, orthanc_id: str) -> list[Dataset]:
        """Everything that Orthanc holds of a study."""
        ids = [one["ID"] for one in self.orthanc.get(f"/studies/{orthanc_id}/instances")]
        files = [
            httpx.get(f"{self.orthanc.url}/instances/{one}/file", trust_env=False, timeout=60).content for one in ids
        ]
        return [dcmread(io.BytesIO(file), stop_before_pixels=True) for file in files]

    def results(self, orthanc_id: str) -> dict[str, Dataset]:
        """What Firstread wrote into a study, by SOP Instance UID."""
        return {str(one.SOPInstanceUID): one for one in self.headers(orthanc_id) if one.Manufacturer == "Firstread"}

    def studies(self) -> list[str]:
        """Orthanc's identifiers of all studies."""
        return list(self.orthanc.get("/studies"))


@pytest.fixture
def hospital(orthanc: OrthancServer, database: Database, redis_url: str) -> Iterator[Hospital]:
    """A hospital with an empty Orthanc, list and broker, which reports whatever the scorer says."""
    with ExitStack() as stack:
        hospital = Hospital(orthanc, database, redis_url, stack)
        hospital.jobs.adopt_policy(TriagePolicy.of(replace(SCORER.card, flag_from=0.01), SiteChoices(alert_budget=1)))
        hospital.intake().look()
        hospital.gateways.close()
        yield hospital


def of(dataset: Dataset, patient_id: str, name: str) -> Dataset:
    """The same film of another patient."""
    other = copy.deepcopy(dataset)
    other.PatientID, other.PatientName = patient_id, name
    return other


def file_with(octets: bytes, character_set: str) -> bytes:
    """A film whose Patient ID is these octets, under a Specific Character Set; pydicom would correct both."""
    octets += b" " * (len(octets) % 2)
    stated = character_set.encode() + b" " * (len(character_set) % 2)
    dataset = chest(1)
    dataset.SpecificCharacterSet, dataset.PatientID = "ISO_IR 192", "#" * len(octets)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    element = b"\x08\x00\x05\x00CS"
    file = buffer.getvalue().replace(b"#" * len(octets), octets, 1)
    return file.replace(element + b"\x0a\x00ISO_IR 192", element + len(stated).to_bytes(2, "little") + stated, 1)


def test_two_patients_under_one_study_uid_keep_their_own_scores_and_results(hospital: Hospital) -> None:
    """Each has a row that says so, with the score of its own film, and its results lie in its own study."""
    first, second = of(chest(1), "SICK", "Sick^A"), of(chest(2), "WELL", "Well^B")
    second.StudyInstanceUID = first.StudyInstanceUID
    for one in (first, second):
        hospital.orthanc.post(one)
    hospital.take_in()
    rows = hospital.rows()
    assert {(line.patient_name, line.state) for line in rows.values()} == {
        ("Sick^A", StudyState.REPORTED),
        ("Well^B", StudyState.REPORTED),
    }
    for dataset in (first, second):
        line = rows[dataset.PatientID]
        assert line.reason.startswith(SHARED)
        assert line.analysis is not None
        assert [image.sop_instance_uid for image in line.analysis.images] == [dataset.SOPInstanceUID]
        results = hospital.results(line.orthanc_id)
        assert {str(one.PatientName) for one in results.values()} == {line.patient_name}
        assert len(hospital.headers(line.orthanc_id)) == 1 + len(results)
        assert read_report(line.orthanc_id, Settings(orthanc_url=hospital.orthanc.url)).source.sop_instance_uid == (
            dataset.SOPInstanceUID
        )
    with pytest.raises(InvalidInput, match="2 patients share"):
        read_report(first.StudyInstanceUID, Settings(orthanc_url=hospital.orthanc.url))


def test_a_film_sent_again_under_a_corrected_patient_id_is_the_corrected_patients(hospital: Hospital) -> None:
    """The same UIDs under two patients give each its score, and results of UIDs of their own; the wrong one may go."""
    wrong = of(chest(1), "WRONG", "Wrong^Name")
    right = of(wrong, "RIGHT", "Right^Name")
    hospital.orthanc.post(wrong)
    hospital.take_in()
    hospital.orthanc.post(right)
    hospital.take_in()
    rows = hospital.rows()
    assert {name: line.state for name, line in rows.items()} == dict.fromkeys(("WRONG", "RIGHT"), StudyState.REPORTED)
    assert rows["WRONG"].score == rows["RIGHT"].score
    written = [hospital.results(rows[name].orthanc_id) for name in ("WRONG", "RIGHT")]
    assert written[0]
    assert written[1]
    assert not set(written[0]) & set(written[1])
    for line in rows.values():
        image = Worklist(hospital.database, hospital.rules).image(line.address, 1)
        assert image is not None
        with closing(OrthancClient(hospital.orthanc.url, auth=None)) as orthanc:
            assert orthanc.rendered(image, 64).startswith(b"\x89PNG")
    hospital.orthanc.delete(f"/studies/{rows['WRONG'].orthanc_id}")
    hospital.patrol()
    (line,) = hospital.rows().values()
    assert (line.patient_id, line.state, line.address) == ("RIGHT", StudyState.REPORTED, right.StudyInstanceUID)
    assert SHARED not in line.reason


def test_the_film_of_another_patient_is_never_taken_for_one_that_is_gone(hospital: Hospital) -> None:
    """An image that its study has lost is gone, though another patient's study holds one with all its UIDs."""
    wrong = of(chest(1), "WRONG", "Wrong^Name")
    right = of(wrong, "RIGHT", "Right^Name")
    for one in (wrong, right):
        hospital.orthanc.post(one)
    hospital.intake().look()
    hospital.gateways.close()
    rows = hospital.rows()
    hospital.orthanc.delete(f"/studies/{rows['WRONG'].orthanc_id}")
    pacs = Pacs(hospital.orthanc.url, auth=None)
    uids = (right.SeriesInstanceUID, right.SOPInstanceUID)
    with pytest.raises(UnusableImage, match="no longer in the PACS"):
        pacs.fetch_image(rows["WRONG"].orthanc_id, *uids)
    assert pacs.fetch_image(rows["RIGHT"].orthanc_id, *uids).PatientID == "RIGHT"


def test_an_image_in_two_series_of_a_study_is_still_there_when_one_is_deleted(hospital: Hospital) -> None:
    """Its study is reported though the place in which it was last seen is gone."""
    first = chest(1)
    again = copy.deepcopy(first)
    again.SeriesInstanceUID = generate_uid()
    hospital.orthanc.post(first)
    place = hospital.orthanc.post(again)
    intake = hospital.intake(quiet=timedelta(0))
    intake.look()
    hospital.orthanc.delete(f"/instances/{place}")
    hospital.gateways.close()
    hospital.take_in()
    (line,) = hospital.rows().values()
    assert (line.state, line.failure) == (StudyState.REPORTED, None)


@pytest.mark.parametrize(
    ("octets", "character_set", "listed"),
    [
        (b"  77A", "ISO_IR 192", "  77A"),
        (b"77A\0", "ISO_IR 100", "77A"),
        (b"77A   ", "", "77A"),
        (b" A \\ B", "ISO_IR 100", " A \\ B"),
        ("Mü7".encode("latin-1"), "ISO_IR 100", "Mü7"),
        (" Mü7".encode("latin-1"), "", " Mü7"),
        ("Mü7".encode("latin-1"), "ISO_IR 192", "Mü7"),
        ("Mü7".encode(), "ISO_IR 100", "Mü7"),
        ("Mü7".encode("latin-1"), "ISO-8859-1", "Mü7"),
        ("王7".encode("gbk"), "GBK", "王7"),
        ("ﾔﾏ7".encode("shift_jis"), "ISO_IR 13", "ﾔﾏ7"),
        (b"\xd4\x1b$B;3ED\x1b(J7", "ISO 2022 IR 13\\ISO 2022 IR 87", "ﾔ山田7"),
    ],
)
def test_results_lie_in_the_study_of_their_film(
    hospital: Hospital, octets: bytes, character_set: str, listed: str
) -> None:
    """Whatever stands in the Patient ID, results bear it as the film does, and Orthanc puts them beside it."""
    file = file_with(octets, character_set)
    httpx.post(f"{hospital.orthanc.url}/instances", content=file, trust_env=False, timeout=60).raise_for_status()
    hospital.take_in()
    (line,) = hospital.rows().values()
    assert (line.patient_id, line.state) == (listed, StudyState.REPORTED)
    assert hospital.studies() == [line.orthanc_id]
    assert hospital.results(line.orthanc_id)


def test_a_report_is_read_beside_the_emptied_copy_of_an_anonymized_study(
    hospital: Hospital, capsys: pytest.CaptureFixture[str]
) -> None:
    """The newest that can be read is given, the other one named; our objects are known in the copy, too."""
    hospital.orthanc.post(chest(1))
    hospital.take_in()
    (line,) = hospital.rows().values()
    made = httpx.post(
        f"{hospital.orthanc.url}/studies/{line.orthanc_id}/anonymize", json={}, trust_env=False, timeout=60
    ).json()
    hospital.take_in()
    study = hospital.orthanc.get(f"/studies/{made['ID']}")["MainDicomTags"]["StudyInstanceUID"]
    report = read_report(study, Settings(orthanc_url=hospital.orthanc.url))
    assert (report.study_instance_uid, report.failure) == (study, None)
    assert capsys.readouterr().err.startswith("firstread: passed over SR ")
    with hospital.database.read() as session:
        images = session.query(InstanceRow).filter(InstanceRow.study_orthanc_id == made["ID"]).count()
    assert images == 1  # the film, and none of ours


def test_a_row_in_which_an_earlier_version_mixed_two_patients_is_put_right(hospital: Hospital) -> None:
    """The patrol takes the other patient's image out of the study, and lists it under its own name."""
    first, second = of(film(), "SICK", "Sick^A"), of(film(), "WELL", "Well^B")
    second.StudyInstanceUID = first.StudyInstanceUID
    hospital.orthanc.post(second)
    hospital.intake().look()
    hospital.gateways.close()
    (line,) = hospital.rows().values()
    hospital.orthanc.post(first)
    with hospital.database.write() as session:
        session.add(
            InstanceRow(
                study_orthanc_id=line.orthanc_id,
                sop_instance_uid=first.SOPInstanceUID,
                series_instance_uid=first.SeriesInstanceUID,
                digest="of an earlier version",
            )
        )
        session.connection().exec_driver_sql("UPDATE feeds SET sequence = sequence + 1000 WHERE name = 'orthanc'")
    hospital.patrol()
    assert {name: row.patient_name for name, row in hospital.rows().items()} == {"SICK": "Sick^A", "WELL": "Well^B"}
    with hospital.database.read() as session:
        rows = session.query(InstanceRow).all()
    assert sorted(row.sop_instance_uid for row in rows) == sorted(str(one.SOPInstanceUID) for one in (first, second))


def test_results_that_the_pacs_sorts_into_another_study_are_written_again_once(hospital: Hospital) -> None:
    """An earlier version wrote them there; a PACS that goes on doing so is not asked for ever."""
    wrong = of(chest(1), "WRONG", "Wrong^Name")
    hospital.orthanc.post(wrong)
    hospital.take_in()
    (line,) = hospital.rows().values()
    for one in hospital.results(line.orthanc_id).values():
        place = next(
            found["ID"]
            for found in hospital.orthanc.get(f"/studies/{line.orthanc_id}/instances")
            if found["MainDicomTags"]["SOPInstanceUID"] == one.SOPInstanceUID
        )
        file = httpx.get(f"{hospital.orthanc.url}/instances/{place}/file", trust_env=False, timeout=60).content
        hospital.orthanc.delete(f"/instances/{place}")
        hospital.orthanc.post(of(dcmread(io.BytesIO(file)), "ELSEWHERE", "Wrong^Name"))
    hospital.patrol()
    hospital.take_in()
    assert hospital.results(line.orthanc_id)
    for one in hospital.orthanc.get(f"/studies/{line.orthanc_id}/series"):
        if one["MainDicomTags"].get("Manufacturer") == "Firstread":
            hospital.orthanc.delete(f"/series/{one['ID']}")
    hospital.patrol()
    assert hospital.due(Queue.REPORT) == []


def test_a_film_of_a_device_that_bears_our_name_is_listed(hospital: Hospital) -> None:
    """Only what we write ourselves is passed over."""
    wrapped = film(SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", Manufacturer="Firstread", SeriesNumber=1)
    hospital.orthanc.post(wrapped)
    hospital.intake().look()
    assert list(hospital.rows()) == ["4711"]
