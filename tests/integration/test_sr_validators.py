"""Independent programs agree that our objects are what DICOM says they are."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pydicom.uid import (
    BasicTextSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    SecondaryCaptureImageStorage,
)

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from dicom_sr.parse import parse
from tests.sr_checks import faults, patient_in_pixels
from tests.sr_films import CARD, EXPLAINER, NOON, POLICY, SCORER, reference
from tests.validators import (
    check_definition,
    check_encoding,
    check_entities,
    check_reading,
    pixelmed,
    run,
    saved,
    twin,
)
from worklist.account import (
    CONFIRM,
    Account,
    Certainty,
    Change,
    Check,
    Comparison,
    Layer,
    Statement,
    Verdict,
)
from worklist.comparison import PriorComparison, PriorReport, compare
from worklist.finding import Analysis, Finding, FindingType, QualityNote, Region, Side, Snippet, merge
from worklist.triage import assess

FILMS = Path(__file__).parents[2] / ".." / "shared" / "data" / "dicom"
DOCUMENTS = {"SR", "KO"}  # modalities with a content tree
TYPE_2 = (
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)


def synthetic_film() -> Dataset:
    """A complete CR film with an order, in Japanese."""
    film = plain_film()
    _named_as_in(film, "chrH31")
    film.LossyImageCompression, film.LossyImageCompressionRatio = "01", "12.5"
    film.LossyImageCompressionMethod = "ISO_10918_1"
    request = Dataset()
    request.RequestedProcedureID, request.RequestedProcedureDescription = "RP1", "Chest"
    request.ScheduledProcedureStepID = "SPS1"
    film.RequestAttributesSequence = [request]
    return film


def plain_film() -> Dataset:
    """A CR film without order and without lossy compression."""
    film = Dataset()
    film.PatientName = "Doe^Jane"
    film.SOPClassUID, film.SOPInstanceUID = ComputedRadiographyImageStorage, "1.2.3.4.5"
    film.StudyInstanceUID, film.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    film.PatientID, film.PatientBirthDate, film.PatientSex, film.PatientAge = "P1", "19600101", "F", "066Y"
    film.StudyDate, film.StudyTime, film.AccessionNumber, film.StudyID = "20261122", "060000", "A1", "S1"
    film.StudyDescription, film.ReferringPhysicianName = "Chest PA", "Roe^Richard"
    film.Modality, film.Manufacturer, film.SeriesNumber, film.InstanceNumber = "CR", "Maker", 1, 1
    film.StationName, film.InstitutionalDepartmentName, film.RequestedProcedurePriority = "CR1", "Emergency", "ROUTINE"
    film.BodyPartExamined, film.ViewPosition, film.PatientOrientation = "CHEST", "PA", ["L", "F"]
    film.TimezoneOffsetFromUTC, film.SyntheticData = "+0900", "YES"
    film.Rows, film.Columns, film.PixelSpacing = 1200, 1000, [0.2, 0.2]
    film.PhotometricInterpretation = "MONOCHROME2"
    return film


def _named_as_in(film: Dataset, example: str) -> None:
    origin = pydicom.dcmread(get_charset_files(f"{example}.dcm")[0], stop_before_pixels=True)
    film.SpecificCharacterSet, film.PatientName = origin.SpecificCharacterSet, origin.PatientName


def real_film(name: str) -> Dataset:
    """A real film's attributes."""
    path = FILMS / name
    if not path.exists():
        pytest.skip(f"{name} is not here")
    return pydicom.dcmread(path, stop_before_pixels=True, force=True)


SOURCES: dict[str, Callable[[], Dataset]] = {
    "synthetic": synthetic_film,
    "CR": lambda: real_film("rg1_chest_15bit_mono1_uncompressed.dcm"),
    "CR without file meta": lambda: real_film("cr_mono1_10bit_chest.dcm"),
    "DX in SC": lambda: real_film("nhsx_google_nih_dx.dcm"),
}


def _dx(film: Dataset) -> None:
    film.SOPClassUID, film.Modality = DigitalXRayImageStorageForPresentation, "DX"
    film.PresentationIntentType, film.ImagerPixelSpacing = "FOR PRESENTATION", film.PixelSpacing
    del film.PixelSpacing


def _secondary_capture(film: Dataset) -> None:
    film.SOPClassUID, film.Modality, film.ConversionType = SecondaryCaptureImageStorage, "OT", "DF"


def _monochrome1(film: Dataset) -> None:
    film.PhotometricInterpretation, film.BurnedInAnnotation = "MONOCHROME1", "YES"


def _bare(film: Dataset) -> None:
    for keyword in ("PatientID", "StudyID", "AccessionNumber", "ReferringPhysicianName", "PatientAge"):
        del film[keyword]
    film.PatientBirthDate = film.StudyDate = film.StudyTime = film.PatientSex = ""
    for keyword in ("PatientOrientation", "BodyPartExamined", "PixelSpacing", "TimezoneOffsetFromUTC"):
        del film[keyword]


def _of_another_sex(film: Dataset) -> None:
    film.PatientSex = "X"


def _with_private_junk(film: Dataset) -> None:
    film.add_new(0x00091001, "LO", "no creator")
    film.add_new(0x00110010, "LO", "VENDOR")
    film.add_new(0x00111001, "OB", b"\0\1\2\3")
    film.add_new(0x00111002, "SQ", [Dataset()])


def _described_without_end(film: Dataset) -> None:
    tag = Tag("StudyDescription")
    film.__setitem__(tag, RawDataElement(tag, "LO", 65_000, b"x" * 65_000, 0, False, True))  # noqa: FBT003


ODD_FILMS: dict[str, Callable[[Dataset], None]] = {
    "DX": _dx,
    "SC": _secondary_capture,
    "MONOCHROME1": _monochrome1,
    "bare": _bare,
    "sex X": _of_another_sex,
    "private": _with_private_junk,
    "endless description": _described_without_end,
    "Greek": lambda film: _named_as_in(film, "chrGreek"),
    "Cyrillic": lambda film: _named_as_in(film, "chrRuss"),
    "Arabic": lambda film: _named_as_in(film, "chrArab"),
}


def film_of(name: str) -> Dataset:
    """A film of SOURCES, or a plain one made odd."""
    if name in SOURCES:
        return SOURCES[name]()
    film = plain_film()
    ODD_FILMS[name](film)
    return film


def found_on(source: Dataset, *, positive: bool, boxes: int = 3) -> Analysis:
    """Three findings that are put into words, some of them with boxes, and one that is not; or nothing; explained."""
    return explained(scored_on(source, positive=positive, boxes=boxes))


def scored_on(source: Dataset, *, positive: bool, boxes: int = 3) -> Analysis:
    """The same as the scorer leaves it."""
    rows, columns = int(source.Rows), int(source.Columns)
    lift = 1.0 if positive else 0.1

    def finding(kind: FindingType, probability: float, side: Side | None, *, x: int, boxed: bool) -> Finding:
        region = Region(x=x, y=rows // 8, width=columns // 3, height=rows // 4)
        return Finding(
            type=kind,
            probability=probability * lift,
            threshold=0.5,
            side=side,
            region=region if positive and boxed else None,
        )

    return Analysis(
        images=(reference(source),),
        scorer=SCORER,
        findings=(
            finding(FindingType.PNEUMOTHORAX, 0.9312345678901234, Side.RIGHT, x=columns // 8, boxed=boxes > 0),
            finding(FindingType.PLEURAL_EFFUSION, 0.71, Side.LEFT, x=columns // 2 + 1, boxed=boxes > 1),
            finding(FindingType.CARDIOMEGALY, 0.6, None, x=columns // 3, boxed=boxes > 2),
            Finding(type=FindingType.PULMONARY_EDEMA, probability=0.03, threshold=0.5),
        ),
        score=0.95 * lift,
        threshold=0.3,
        completed_at=NOON,
        elapsed_ms=12.3456789,
        quality=(QualityNote(code="low_contrast", message="The film has low contrast."),),
    )


def explained(analysis: Analysis) -> Analysis:
    """An Analysis with a language model's words, its account and a quotation."""
    return analysis.explained(
        f"The right lung edge may be displaced from the chest wall. {CONFIRM}",
        explainer=EXPLAINER,
        prompt_version="t2",
        snippets=(Snippet(source="1.2.3.9", snippet="Small right pneumothorax."),),
        account=Account(
            explained_at=datetime(2026, 11, 22, 12, 0, 3, tzinfo=UTC),
            elapsed_ms=1400.5,
            sop_instance_uid=analysis.image.sop_instance_uid,
            prompt_sha256="cd" * 32,
            statements=(
                Statement(type=FindingType.PNEUMOTHORAX, certainty=Certainty.POSSIBLE, sides=(Side.RIGHT,)),
                Statement(
                    type=FindingType.MASS,
                    certainty=Certainty.UNCERTAIN,
                    is_supported=True,
                    region=Region(x=1, y=2, width=3, height=4),
                ),
            ),
            comparison=Comparison(change=Change.WORSENED, compared_with=("report 1.2.3.9",)),
            uncertainty="Limited by a single view.",
            checks=tuple(Check(layer=layer, attempt=1, verdict=Verdict.PASSED) for layer in Layer),
        ),
    )


def prior_film_of(source: Dataset) -> Dataset:
    """An earlier film of the same patient."""
    film = copy.deepcopy(source)
    film.StudyInstanceUID, film.SeriesInstanceUID = "1.2.9", "1.2.9.4"
    film.SOPInstanceUID, film.StudyDate, film.AccessionNumber = "1.2.9.4.5", "20260303", "A0"
    film.pop("RequestAttributesSequence", None)  # the order of the other study
    return film


def prior_report_of(source: Dataset) -> Dataset:
    """The report on it, as far as a reference needs it."""
    report = prior_film_of(source)
    report.SOPClassUID, report.SOPInstanceUID = BasicTextSRStorage, "1.2.3.9"
    report.SeriesInstanceUID, report.Modality = "1.2.9.6", "SR"
    return report


def beside_a_prior(source: Dataset) -> tuple[Results, ...]:
    """A study with an earlier film and its report, some scores of which have changed."""
    found, film, report = found_on(source, positive=True), prior_film_of(source), prior_report_of(source)
    earlier = dataclasses.replace(found.findings[1], probability=0.05)
    then = dataclasses.replace(found, findings=(found.findings[0], earlier))
    prior = PriorComparison(
        study_instance_uid=film.StudyInstanceUID,
        study_date=film.StudyDate,
        film=reference(film),
        report=PriorReport(
            study_instance_uid=report.StudyInstanceUID,
            series_instance_uid=report.SeriesInstanceUID,
            sop_class_uid=report.SOPClassUID,
            sop_instance_uid=report.SOPInstanceUID,
            kind="Basic Text SR, verified",
            limits="only its first 20000 characters were read",
        ),
        compared=compare(found, then),
    )
    return (build_of([source], dataclasses.replace(found, prior=prior)),)


def beside_a_clash(source: Dataset) -> tuple[Results, ...]:
    """A study under whose Patient ID another patient's lies."""
    clash = PriorComparison(
        clash="a study of 3 March 2026 under the same Patient ID is not used: it states another name"
    )
    return (build_of([source], dataclasses.replace(found_on(source, positive=True), prior=clash)),)


def second_film_of(source: Dataset) -> Dataset:
    """Another film of a study, in a series of its own, half as large."""
    film = copy.deepcopy(source)
    film.SOPInstanceUID, film.SeriesInstanceUID = f"{source.SOPInstanceUID}.2", f"{source.SeriesInstanceUID}.2"
    film.SeriesNumber, film.ViewPosition = 2, "AP"
    film.Rows, film.Columns = source.Rows // 2, source.Columns // 2
    return film


def build(
    source: Dataset, *, positive: bool = True, boxes: int = 3, previous: Results | None = None, optional: bool = True
) -> Results:
    """All objects of a film, with overlay and key image note or without, of the first or of a later revision."""
    return build_of([source], found_on(source, positive=positive, boxes=boxes), previous=previous, optional=optional)


def build_of(
    sources: Sequence[Dataset],
    found: Analysis,
    *,
    previous: Results | None = None,
    optional: bool = True,
    unscored: int = 0,
) -> Results:
    """All objects of a study of these films."""
    return build_results(
        found,
        triage=assess(found, POLICY),
        policy=POLICY,
        sources={str(source.SOPInstanceUID): source for source in sources},
        pixels=lambda image: np.full((image.rows, image.columns), 90, np.uint8),
        revision=Revision(
            number=1 if previous is None else 2,
            predecessor=() if previous is None else previous.document_references,
            fetched_at=NOON,
            scored_at=NOON + timedelta(milliseconds=300),
            reported_at=NOON + timedelta(seconds=5),
        ),
        unscored=unscored,
        write_overlay=optional,
        write_key_image=optional,
    )


def two_films(source: Dataset) -> tuple[Results, ...]:
    """A study of two films with a box on each, where a third could not be scored."""
    second = second_film_of(source)
    quiet = scored_on(source, positive=False)
    heart = next(found for found in scored_on(source, positive=True).findings if found.type == FindingType.CARDIOMEGALY)
    one = dataclasses.replace(quiet, findings=(heart, *quiet.findings[:2], quiet.findings[3]))
    found = explained(merge([one, scored_on(second, positive=True, boxes=2)]))
    return (build_of([source, second], found, unscored=1),)


def failed(source: Dataset, code: str, message: str) -> Results:
    """The report of a run that came to nothing."""
    return build_failure_report(
        source=source,
        code=code,
        message=message,
        card=CARD,
        scorer=SCORER,
        revision=Revision(number=1, reported_at=NOON),
    )


def across(source: Dataset) -> tuple[Results, ...]:
    """A study with an effusion whose evidence crosses the middle, so that neither its box nor its side is shown."""
    found = scored_on(source, positive=True)
    columns = int(source.Columns)
    region = Region(x=columns // 4, y=0, width=columns // 2, height=int(source.Rows) // 4)
    findings = [
        dataclasses.replace(each, region=region) if each.type == FindingType.PLEURAL_EFFUSION else each
        for each in found.findings
    ]
    return (build_of([source], explained(dataclasses.replace(found, findings=tuple(findings)))),)


def revised(source: Dataset) -> tuple[Results, ...]:
    """A first and a second revision."""
    first = build(source)
    return first, build(source, previous=first)


ENDINGS: dict[str, Callable[[Dataset], tuple[Results, ...]]] = {
    "three boxes": lambda source: (build(source),),
    "nothing found": lambda source: (build(source, positive=False),),
    "revised": revised,
    "failed": lambda source: (failed(source, "undecodable", "The pixel data cannot be decoded."),),
    "one box": lambda source: (build(source, boxes=1, optional=False),),
    "no box": lambda source: (build(source, boxes=0),),
    "box across the middle": across,
    "two films": two_films,
    "a prior": beside_a_prior,
    "a clash": beside_a_clash,
    "out of scope": lambda source: (failed(source, "not_frontal", "This is a lateral film."),),
}
STUDIES = [
    *(("synthetic", ending) for ending in ENDINGS),
    *((film, ending) for film in [*list(SOURCES)[1:], *ODD_FILMS] for ending in ("three boxes", "failed")),
]


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study, what the runs over it left, and all of it as files of one folder."""

    name: str
    film: Dataset
    films: list[Dataset]
    revisions: tuple[Results, ...]
    film_path: Path
    film_paths: list[Path]
    paths: dict[Path, Dataset]


def saved_film(source: Dataset, folder: Path) -> Path:
    """The film's attributes as a file."""
    path = folder / f"film-{source.SOPInstanceUID}.dcm"
    film = Dataset()
    film.update(source)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The value length", UserWarning)  # a film may be as odd as it likes
        film.save_as(path, enforce_file_format=False, implicit_vr=False, little_endian=True)
    return path


@pytest.fixture(params=STUDIES, ids=" with ".join, scope="module")
def study(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of each kind."""
    name, ending = request.param
    film, folder = film_of(name), tmp_path_factory.mktemp("study")
    revisions = ENDINGS[ending](film)
    films = [film, second_film_of(film)] if ending == "two films" else [film]
    paths = [saved_film(each, folder) for each in films]
    if ending == "a prior":
        paths += [saved_film(each, folder) for each in (prior_film_of(film), prior_report_of(film))]
    return Study(
        name=name,
        film=film,
        films=films,
        revisions=revisions,
        film_path=paths[0],
        film_paths=paths,
        paths={saved(item, folder): item for results in revisions for item in results.objects},
    )


@pytest.fixture(scope="session", autouse=True)
def _validators_start_early() -> None:
    """PixelMed gets ready while the others work."""
    with contextlib.suppress(pytest.skip.Exception):  # where it is not installed, its own tests say so
        pixelmed()


def test_every_object_satisfies_its_information_object_definition(study: Study) -> None:
    """Dciodvfy finds no error and no unexplained warning that is not the film's own."""
    inherited = check_definition(study.film_path)
    for path in study.paths:
        assert not set(check_definition(path)) - set(inherited)


def test_all_objects_of_a_study_agree(study: Study) -> None:
    """Dcentvfy finds one patient, study and equipment in a film and all that was made of it, and no dead reference."""
    differing = [keyword for keyword in TYPE_2 if keyword not in study.film]  # empty in our objects
    if study.film.get("PatientAge") == "81":  # no age (PS3.5 wants 081Y), so left out
        differing.append("PatientAge")
    known = [rf"Warning - Attribute present in one instance but not the other - Element=<({'|'.join(differing)})> .*"]
    if study.name == "endless description":  # no valid object can repeat more than 64 characters
        known.append(r"Error - String attribute has different value - Element=<StudyDescription> IE=<Study> .*")
    assert not check_entities([*study.paths, *study.film_paths], *known)


def test_dcmtk_reads_every_object(study: Study) -> None:
    """Dcmpschk passes every object; dsrdump and dsr2html show every document without a complaint."""
    for path, item in study.paths.items():
        assert not check_encoding(path)
        if item.Modality in DOCUMENTS:
            assert not check_reading(path)


def test_what_no_validator_checks_holds(study: Study) -> None:
    """Our own checks find no fault in any revision, and a report reads back as what was built."""
    for number, results in enumerate(study.revisions, start=1):
        assert not faults(results.objects, study.films)
        assert parse(results.triage_report).revision == number


@pytest.mark.parametrize("name", [*SOURCES, *ODD_FILMS])
def test_every_kind_of_object_is_proven(name: str) -> None:
    """The studies above hold an overlay and a key image note of every film, so that all validators see them."""
    made = [item.Modality for item in build(film_of(name)).objects]
    assert made == ["OT", "OT", "OT", "OT", "SR", "PR", "KO", "SR"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_report_follows_its_template(ending: str, tmp_path: Path) -> None:
    """PixelMed finds the root template and every content item in it, the explained ones apart."""
    results = ENDINGS[ending](synthetic_film())[-1]  # no other film changes what a report holds, only whose it is
    for item in results.objects:
        if item.Modality in DOCUMENTS:
            assert not pixelmed().check_template(saved(twin(item), tmp_path))


def test_every_reference_leads_somewhere(study: Study) -> None:
    """PixelMed resolves every reference among a film and all that was made of it."""
    assert not pixelmed().check_references(study.film_path.parent)


def test_no_name_is_drawn() -> None:
    """The crops of two patients with one film are the same to the pixel."""
    one, other = plain_film(), plain_film()
    other.PatientName, other.PatientID, other.AccessionNumber = "Wonderland^Alice", "P77", "A9"
    assert not patient_in_pixels(build(one).objects, build(other).objects)


def test_a_reader_in_a_hurry_meets_no_uids(tmp_path: Path) -> None:
    """Dsrdump shows in ten lines what a reader needs, and no UID or digest until the technical sections begin."""
    said = run("dsrdump", "+Pl", saved(build(synthetic_film()).triage_report, tmp_path))
    shown = said[said.index("<contains CONTAINER") :]
    lines = shown.splitlines()
    assert [re.sub(r'.*="?|">$|>$', "", line)[:60] for line in lines[1:4]] == [
        "Critical finding suspected. Pneumothorax likely, right; Pleu",
        '(RID49480,RADLEX,"ACR Category 1 Actionable Finding")',
        "Boxed on the image: pneumothorax, pleural effusion and cardi",
    ]
    needed = ("Critical finding", "Boxed on", "Looked for: ", "Not found reliably", "Not looked for: ", "low contrast.")
    assert all(any(words in line for line in lines[:10]) for words in needed), lines[:10]
    above = shown[: shown.index('"Technical: ')]
    assert not re.search(r"2\.25\.|abab|NUM:", above)
    assert POLICY.digest not in above
    order = ("low contrast.", "Written by software", "likely, right: probability 0.93", "displaced")
    places = [above.index(words) for words in order]
    assert places == sorted(places)
    headings = [line for line in lines if line.startswith("  <contains CONTAINER")]
    technical = ["Technical: " in line for line in headings]
    assert technical == sorted(technical), "they stand last"


def test_the_report_reads_well_as_a_web_page(tmp_path: Path) -> None:
    """Dsr2html shows sentences that stand for themselves, in the same order."""
    page = run("dsr2html", saved(build(synthetic_film(), positive=False).triage_report, tmp_path))
    words = re.sub(r"<[^>]*>|&nbsp;", " ", page)
    assert words.index(
        "No AI flag. No finding is certain enough to name. This is not a negative report."
    ) < words.index("Probabilities, from 0 to 1: pneumothorax 0.09, pleural effusion 0.07")
    assert "computed in 12 ms by embedded, version 1.0.0." in words
    assert "Written by software, not by a radiologist." in words
