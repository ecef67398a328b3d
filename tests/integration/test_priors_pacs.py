"""The patient's earlier film and report in a real Orthanc: what is found, what is refused, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from copy import copy
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedSRStorage

from imaging.radiograph import read_radiograph
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import GatedScorer
from tests.prior_studies import EARLIER, NOW, film_of, pdf_of, pdf_report, text_report
from tests.servers import OrthancServer, free_ports, orthanc_id
from worker.pacs import Pacs
from worker.priors import Prior, PriorFinder
from worklist.finding import Analysis
from worklist.records import Database, ExplanationRecords
from worklist.scope import ScopeRules
from worklist.sight import Sites

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
SCORER = GatedScorer(EmbeddedScorer())
NEW_FILM = film_of(NOW, seed=6)
SCORED = SCORER.score(read_radiograph(NEW_FILM))


class Bench:
    """A finder of priors on Orthanc, and records that know of no study."""

    def __init__(self, orthanc: OrthancServer, database: Database) -> None:
        self.orthanc = orthanc
        self._records = ExplanationRecords(database)

    def store(self, *datasets: Dataset) -> None:
        """Have Orthanc hold these and the new film."""
        for dataset in (NEW_FILM, *datasets):
            self.orthanc.post(dataset)

    def find(
        self, *, url: str = "", analysis: Analysis = SCORED, can_score: bool = True, sites: Sites | None = None
    ) -> Prior | None:
        """What is found beside the new film."""
        finder = PriorFinder(
            Pacs(url or self.orthanc.url, auth=None),
            self._records,
            scope=ScopeRules,
            sites=sites,
            load_scorer=(lambda: SCORER) if can_score else None,
        )
        return finder.find(orthanc_id(NEW_FILM.PatientID, NEW_FILM.StudyInstanceUID), analysis, NEW_FILM)

    def found(self) -> Prior:
        """The prior that must be found."""
        prior = self.find()
        assert prior is not None
        return prior


@pytest.fixture
def bench(orthanc: OrthancServer, tmp_path: Path, migrated_sqlite: bytes) -> Iterator[Bench]:
    """Orthanc, and an empty database."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{file}")) as database:
        yield Bench(orthanc, database)


def test_the_newest_earlier_film_and_its_report_are_found(bench: Bench) -> None:
    """Of several earlier films the newest is taken, with its report and the score of the same model."""
    oldest, film, later = film_of("20250101"), film_of(EARLIER, seed=7), film_of("20261121")
    report = text_report(film, "Small left pleural effusion.", "The heart is not enlarged.")
    bench.store(oldest, film, later, text_report(oldest, "Nothing."), report)
    prior = bench.found()
    assert (prior.study_instance_uid, prior.study_date) == (film.StudyInstanceUID, EARLIER)
    assert prior.film is not None
    assert prior.film.sop_instance_uid == film.SOPInstanceUID
    assert prior.report is not None
    assert (prior.report.sop_instance_uid, prior.report.kind) == (report.SOPInstanceUID, "Basic Text SR, verified")
    assert prior.report_text == "Small left pleural effusion.\n\nThe heart is not enlarged."
    assert prior.analysis is not None
    assert prior.analysis.findings == SCORER.score(read_radiograph(film)).findings
    assert (prior.clash, prior.not_compared) == ("", "")


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"PatientName": "Roe^John"}, "it states another name"),
        ({"PatientBirthDate": "19500204"}, "it states another birth date"),
        ({"PatientBirthDate": ""}, "one of the two states no birth date"),
        ({"PatientSex": "M"}, "it states another sex"),
        ({"PatientName": ""}, "one of the two states no name"),
    ],
)
def test_a_clash_is_said_and_nothing_of_it_is_used(bench: Bench, attributes: dict[str, str], why: str) -> None:
    """Another patient under the same ID gives a sentence that names the day and the reason, and nothing else."""
    film = film_of(EARLIER, 5, **attributes)
    bench.store(film, text_report(film, "Large pneumothorax."))
    clash = f"a study of 3 March 2026 under the same Patient ID is not used: {why}"
    assert bench.find() == Prior(clash=clash)


@pytest.mark.parametrize(
    ("institutions", "is_used"),
    [(("North", "NORTH"), True), (("North", "South"), False), (("North", ""), False), (("", ""), False)],
)
def test_no_film_of_another_site_is_compared_with(
    orthanc: OrthancServer, bench: Bench, institutions: tuple[str, str], *, is_used: bool
) -> None:
    """Nor its report quoted, nor a clash told: a study of no known site is compared with nothing."""
    new, earlier = (copy(NEW_FILM), film_of(EARLIER, seed=7))
    new.InstitutionName, earlier.InstitutionName = institutions
    clash = film_of("20260401", PatientName="Roe^John")
    clash.InstitutionName = "South"
    for stored in (new, earlier, text_report(earlier, "Small left pleural effusion."), clash):
        orthanc.post(stored)
    sites = Sites(institutions={"north": frozenset({"North"}), "south": frozenset({"South"})})
    prior = bench.find(sites=sites)
    assert (prior is not None) == is_used
    if prior:
        assert (prior.study_instance_uid, prior.clash) == (earlier.StudyInstanceUID, "")


def test_names_that_differ_in_spelling_alone_agree(bench: Bench) -> None:
    """Case, accents, a middle name and a title are no other name."""
    bench.store(film_of(EARLIER, PatientName="ROE^JANE^MARY^DR"))
    assert bench.found().clash == ""


def test_a_patient_without_earlier_studies_has_no_prior(bench: Bench) -> None:
    """Another patient's studies, a later one and one without a date are none."""
    bench.store(film_of(EARLIER, PatientID="4712"), film_of("20261230"), film_of(""))
    assert bench.find() is None


def test_a_lateral_film_is_passed_over(bench: Bench) -> None:
    """The newest frontal film is taken, however new a lateral one is."""
    frontal = film_of("20250101")
    bench.store(film_of(EARLIER, ViewPosition="LL", StudyDescription="Chest LAT"), frontal)
    assert bench.found().study_instance_uid == frontal.StudyInstanceUID


def test_our_own_and_other_machines_documents_are_no_reports(bench: Bench) -> None:
    """Neither a document of Firstread nor one whose observer is a device is read as a radiologist's report."""
    film = film_of(EARLIER)
    own = text_report(film, "Pneumothorax likely.", Manufacturer="Firstread", SOPClassUID=EnhancedSRStorage)
    machine = text_report(film, "Pneumothorax likely.")
    machine.ContentSequence.insert(0, _device())
    bench.store(film, own, machine)
    prior = bench.found()
    assert (prior.report, prior.report_text) == (None, "")


def test_a_report_of_another_patient_in_the_study_is_not_read(bench: Bench) -> None:
    """A report must state the patient's name and birth date itself; that it does not is said, the film is used."""
    film = film_of(EARLIER)
    other = text_report(film, "Large pneumothorax.", PatientName="Roe^John")
    bench.store(film, other)
    prior = bench.found()
    assert (prior.report, prior.report_text) == (None, "")
    assert prior.not_compared == "a report in the earlier study is not read: it states another name"
    assert prior.analysis is not None
    own = text_report(film, "Small pleural effusion.")
    bench.store(own)
    prior = bench.found()
    assert prior.report is not None
    assert prior.report.sop_instance_uid == own.SOPInstanceUID
    assert prior.not_compared == "a report in the earlier study is not read: it states another name"


def test_the_file_of_the_earlier_film_is_fetched_where_somebody_looks_at_it(bench: Bench) -> None:
    """What it states before its pixels is enough to find it; whoever wants the film gets it whole."""
    film = film_of(EARLIER, PatientName="Roé^Jane", SpecificCharacterSet="ISO_IR 100")
    bench.store(film)
    pacs = Pacs(bench.orthanc.url, auth=None)
    header = pacs.header(orthanc_id(*(film[name].value for name in ("PatientID", *UIDS))))
    assert str(header.PatientName) == "Roé^Jane"
    assert "PixelData" not in header
    assert header.Rows == film.Rows
    prior = bench.find(can_score=False)
    assert prior is not None
    assert prior.dataset is not None
    assert prior.dataset().PixelData == film.PixelData


def test_a_verified_report_is_taken_before_a_newer_draft(bench: Bench) -> None:
    """Who signed counts before when."""
    film = film_of(EARLIER)
    draft = text_report(film, "A draft.", VerificationFlag="UNVERIFIED", ContentTime="235959")
    bench.store(film, draft, text_report(film, "The report."))
    assert bench.found().report_text == "The report."


def test_a_report_of_two_megabytes_is_read_to_a_bound_and_that_is_said(bench: Bench) -> None:
    """Its beginning is used."""
    film = film_of(EARLIER)
    bench.store(film, text_report(film, "Left pleural effusion. " * 90_000))
    prior = bench.found()
    assert prior.report is not None
    assert prior.report.limits == "only its first 20000 characters were read"
    assert len(prior.report_text) == 20_000
    assert prior.report_text.startswith("Left pleural effusion. Left")


@pytest.mark.parametrize(
    ("pdf", "text", "limits"),
    [
        (lambda: pdf_of("Small left pleural effusion."), "Small left pleural effusion.", ""),
        (lambda: pdf_of(*["Page."] * 15), "Page.", "of the PDF the first 12 pages were read"),
        (lambda: b"%PDF-1.4 and then nothing of one", "", "the PDF cannot be read"),
        (lambda: pdf_of(""), "", "the PDF holds no text, as a scanned one does"),
    ],
)
def test_a_pdf_is_read_by_its_text(bench: Bench, pdf: Callable[[], bytes], text: str, limits: str) -> None:
    """A bounded number of pages is read; what was not is said."""
    film = film_of(EARLIER)
    bench.store(film, pdf_report(film, pdf()))
    prior = bench.found()
    assert prior.report is not None
    assert prior.report.kind == "Encapsulated PDF"
    assert (prior.report_text.split("\n")[0], prior.report.limits) == (text, limits)


def test_a_letter_as_pdf_is_no_report(bench: Bench) -> None:
    """A PDF whose title is no report's is not read."""
    film = film_of(EARLIER)
    bench.store(film, pdf_report(film, pdf_of("Large pneumothorax."), DocumentTitle="Consent form"))
    assert bench.found().report is None


def test_a_placeholder_for_a_patient_id_has_no_priors(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """An ID that many studies bear is nobody's; that is said, and none of them is opened."""
    monkeypatch.setattr("worker.priors._MOST_STUDIES", 2)
    bench.store(film_of("20250101"), film_of("20250102"))
    why = "more than 2 studies have this Patient ID, as a placeholder has"
    assert bench.find() == Prior(not_compared=f"earlier studies were not looked up: {why}")


def test_a_film_that_this_model_has_not_scored_is_not_compared(bench: Bench) -> None:
    """Where the model may not score it here, or is another one, that is said, and the film is shown all the same."""
    bench.store(film_of(EARLIER))
    other = replace(SCORED, scorer=replace(SCORED.scorer, sha256="0" * 64))
    for prior in (bench.find(can_score=False), bench.find(analysis=other)):
        assert prior is not None
        assert prior.film is not None
        assert prior.analysis is None
        assert prior.not_compared == "the earlier film was not scored by this model"


def test_a_pacs_that_is_away_costs_the_comparison_alone(bench: Bench) -> None:
    """Nothing is raised, and the line says what was not done."""
    gone = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert bench.find(url=gone) == Prior(not_compared="earlier studies were not looked up: the PACS could not be asked")


def _device() -> Dataset:
    item, name, value = Dataset(), Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = "121005", "DCM", "Observer Type"
    value.CodeValue, value.CodingSchemeDesignator, value.CodeMeaning = "121007", "DCM", "Device"
    item.RelationshipType, item.ValueType = "HAS OBS CONTEXT", "CODE"
    item.ConceptNameCodeSequence, item.ConceptCodeSequence = [name], [value]
    return item
