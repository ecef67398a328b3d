"""An Analysis goes into a triage report and comes out unchanged, whatever it holds."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from dicom_sr.parse import is_own, parse
from worklist.errors import InvalidInput
from worklist.finding import (
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Side,
    Snippet,
)
from worklist.study import Failure
from worklist.urgency import Urgency

SCORED_AT = datetime(2026, 11, 22, 6, 0, 0, 123_000, tzinfo=UTC)
REVISION = Revision(
    number=3,
    fetched_at=SCORED_AT - timedelta(milliseconds=250),
    scored_at=SCORED_AT,
    reported_at=SCORED_AT.astimezone(timezone(timedelta(hours=9))) + timedelta(seconds=4),
)

texts = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1).filter(
    lambda text: text.rstrip(" ") == text
)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9 ._-]{0,30}[a-z0-9]", fullmatch=True)
probabilities = st.floats(0.0, 1.0)
algorithms = st.builds(
    Algorithm,
    name=names,
    version=names,
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    device_uid=st.integers(1, 2**128 - 1).map(lambda number: f"2.25.{number}"),
)


@st.composite
def findings(draw: st.DrawFn, image: ImageReference) -> Finding:
    """A finding with or without a side and a box inside the image."""
    region = None
    if draw(st.booleans()):
        x, y = draw(st.integers(0, image.columns - 1)), draw(st.integers(0, image.rows - 1))
        width, height = draw(st.integers(1, image.columns - x)), draw(st.integers(1, image.rows - y))
        region = Region(x=x, y=y, width=width, height=height)
    return Finding(
        type=draw(st.sampled_from(FindingType)),
        probability=draw(probabilities),
        threshold=draw(probabilities),
        side=draw(st.none() | st.sampled_from(Side)),
        region=region,
    )


@st.composite
def analyses(draw: st.DrawFn) -> Analysis:
    """Any Analysis of a small film."""
    image = ImageReference(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        sop_class_uid=ComputedRadiographyImageStorage,
        sop_instance_uid="1.2.3.4.5",
        rows=draw(st.integers(1, 300)),
        columns=draw(st.integers(1, 300)),
    )
    analysis = Analysis(
        image=image,
        scorer=draw(algorithms),
        findings=tuple(draw(st.lists(findings(image), max_size=4))),
        score=draw(probabilities),
        threshold=draw(probabilities),
        completed_at=draw(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001
        elapsed_ms=draw(st.floats(0.0, 1e7)),
        quality=tuple(
            draw(
                st.lists(
                    st.builds(QualityNote, code=st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True), message=texts),
                    max_size=3,
                )
            )
        ),
    )
    if draw(st.booleans()):
        return analysis
    return analysis.explained(
        draw(st.just("") | texts),
        explainer=draw(algorithms),
        prompt_version=draw(st.just("") | texts),
        snippets=tuple(draw(st.lists(st.builds(Snippet, source=st.just("") | texts, snippet=texts), max_size=3))),
    )


def _film(image: ImageReference) -> Dataset:
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    film.StudyInstanceUID, film.SeriesInstanceUID = image.study_instance_uid, image.series_instance_uid
    film.PatientName, film.PatientID = "Doe^Jane", "P1"
    film.Rows, film.Columns = image.rows, image.columns
    return film


def _build(analysis: Analysis, urgency: Urgency = Urgency.URGENT) -> Results:
    pixels = np.zeros((analysis.image.rows, analysis.image.columns), np.uint8)
    return build_results(analysis, urgency=urgency, source=_film(analysis.image), pixels=pixels, revision=REVISION)


def _encoded(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _stored(dataset: Dataset) -> Dataset:
    """The object as another program reads it."""
    return pydicom.dcmread(io.BytesIO(_encoded(dataset)))


def _analysis(**changes: Any) -> Analysis:  # noqa: ANN401 - any field of an Analysis
    fields: dict[str, Any] = {
        "image": ImageReference(
            study_instance_uid="1.2.3",
            series_instance_uid="1.2.3.4",
            sop_class_uid=ComputedRadiographyImageStorage,
            sop_instance_uid="1.2.3.4.5",
            rows=60,
            columns=50,
        ),
        "scorer": Algorithm(name="embedded", version="1.0.0", sha256="ab" * 32, device_uid="2.25.7"),
        "findings": (Finding(type=FindingType.PNEUMOTHORAX, probability=0.1, threshold=0.5),),
        "score": 0.1,
        "threshold": 0.5,
        "completed_at": SCORED_AT,
        "elapsed_ms": 12.5,
    }
    return Analysis(**{**fields, **changes})


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(analysis=analyses(), urgency=st.sampled_from(Urgency))
def test_an_analysis_comes_back_exactly(analysis: Analysis, urgency: Urgency) -> None:
    """Every probability, threshold, time, box, side and text of an Analysis survives encoding to the last bit."""
    report = parse(_stored(_build(analysis, urgency).triage_report))
    assert report.analysis == analysis
    assert report.urgency is urgency
    assert report.failure is None
    assert report.looked_for == tuple(finding.type for finding in analysis.findings)


def test_the_report_says_which_run_it_was() -> None:
    """Revision, times, format and the report's own UIDs come back with the Analysis."""
    built = _build(_analysis()).triage_report
    report = parse(_stored(built))
    assert (report.revision, report.format) == (3, 1)
    assert (report.fetched_at, report.scored_at, report.reported_at) == (
        REVISION.fetched_at,
        REVISION.scored_at,
        REVISION.reported_at,
    )
    assert report.sop_instance_uid == built.SOPInstanceUID
    assert report.reference.series_instance_uid == built.SeriesInstanceUID
    assert report.reference.sop_class_uid == built.SOPClassUID


def test_the_report_survives_the_dicom_json_model() -> None:
    """A report fetched as DICOM JSON (PS3.18 Annex F) parses like the file."""
    analysis = _analysis(score=0.1 + 0.2, elapsed_ms=1 / 3)
    as_json = _build(analysis).triage_report.to_json()
    assert parse(Dataset.from_json(as_json)).analysis == analysis


def test_text_loses_only_what_dicom_cannot_hold() -> None:
    """Control characters become spaces and trailing spaces go; line breaks and tabs stay."""
    explanation = "First line.\r\n\tSecond\x00 line\x1b. "
    explainer = Algorithm(name="vlm", version="2", sha256="", device_uid="2.25.8")
    analysis = _analysis().explained(explanation, explainer=explainer, prompt_version="p1")
    back = parse(_stored(_build(analysis).triage_report)).analysis
    assert back is not None
    assert back.explanation == "First line.\r\n\tSecond  line ."
    assert back.explainer == explainer


def test_a_failure_comes_back() -> None:
    """A failure report gives its code and message, no analysis and no urgency, and what was to be looked for."""
    source = _film(_analysis().image)
    built = build_failure_report(
        source=source,
        code="not_frontal",
        message="This is a lateral film; Firstread judges frontal films.",
        revision=Revision(number=1, reported_at=REVISION.reported_at),
        scorer=_analysis().scorer,
        looked_for=(FindingType.PNEUMOTHORAX, FindingType.PULMONARY_EDEMA),
    )
    report = parse(_stored(built.triage_report))
    assert report.failure == Failure(
        code="not_frontal", message="This is a lateral film; Firstread judges frontal films."
    )
    assert report.analysis is None
    assert report.urgency is None
    assert report.looked_for == (FindingType.PNEUMOTHORAX, FindingType.PULMONARY_EDEMA)
    assert report.scorer == _analysis().scorer
    assert (report.fetched_at, report.scored_at, report.reported_at) == (None, None, REVISION.reported_at)
    assert report.source.sop_instance_uid == "1.2.3.4.5"
    assert built.objects == (built.triage_report,)


def test_a_failure_without_a_scorer_comes_back() -> None:
    """Where not even the model is known, the report still says what failed and on which image."""
    built = build_failure_report(source=_film(_analysis().image), code="no_model", message="", revision=REVISION)
    report = parse(_stored(built.triage_report))
    assert report.failure == Failure(code="no_model", message="")
    assert report.scorer is None
    assert report.looked_for == ()


def test_a_film_is_not_a_report() -> None:
    """Parsing something else is refused as invalid input, not as a crash."""
    with pytest.raises(InvalidInput) as caught:
        parse(_film(_analysis().image))
    assert caught.value.code == "not_a_triage_report"


def test_the_findings_are_not_the_triage_report() -> None:
    """Our other SR is refused, too: it does not hold an Analysis."""
    finding = Finding(
        type=FindingType.PNEUMONIA, probability=0.9, threshold=0.5, region=Region(x=1, y=1, width=9, height=9)
    )
    findings_report = _build(_analysis(findings=(finding,))).findings_report
    assert findings_report is not None
    with pytest.raises(InvalidInput) as caught:
        parse(_stored(findings_report))
    assert caught.value.code == "not_a_triage_report"


def test_a_report_by_someone_else_is_refused() -> None:
    """A Chest CAD Report of another manufacturer is not ours."""
    report = _build(_analysis()).triage_report
    report.Manufacturer = "Other"
    with pytest.raises(InvalidInput):
        parse(report)


def test_a_damaged_report_is_refused() -> None:
    """A report without its numbers is invalid input that names what is missing."""
    report = _build(_analysis()).triage_report
    report.ContentSequence = [
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeMeaning != "Processing"
    ]
    with pytest.raises(InvalidInput, match="Format of this report") as caught:
        parse(report)
    assert caught.value.code == "damaged_report"


def test_a_report_of_a_newer_format_is_refused() -> None:
    """A report that a later version wrote is refused with the advice to upgrade, not misread."""
    report = _build(_analysis()).triage_report
    for section in report.ContentSequence:
        for item in section.get("ContentSequence", ()):
            if item.ConceptNameCodeSequence[0].CodeMeaning == "Format of this report":
                item.MeasuredValueSequence[0].NumericValue = "2"
    with pytest.raises(InvalidInput, match="upgrade") as caught:
        parse(report)
    assert caught.value.code == "newer_report"


@pytest.mark.parametrize(
    ("tags", "own"),
    [
        ({"Manufacturer": "Firstread"}, True),
        ({"Manufacturer": "Firstread "}, True),
        ({"00080070": {"vr": "LO", "Value": ["Firstread"]}}, True),
        ({"Manufacturer": "Firstreader"}, False),
        ({"00080070": {"vr": "LO"}}, False),
        ({"Manufacturer": None}, False),
        ({}, False),
    ],
)
def test_own_objects_are_known_by_their_manufacturer(tags: dict[str, Any], own: bool) -> None:  # noqa: FBT001
    """Orthanc's tags, DICOM JSON and data sets alike tell whether an object is ours."""
    assert is_own(tags) is own


def test_every_object_is_own() -> None:
    """What we built is recognized as ours, and the film is not."""
    results = _build(_analysis())
    assert all(is_own(item) for item in results.objects)
    assert not is_own(_film(_analysis().image))
