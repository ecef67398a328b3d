"""An Analysis, its triage and its policy go into a triage report and come out unchanged, whatever they hold."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, ComputedRadiographyImageStorage

from dicom_sr.build import Results, Revision, build_failure_report, build_results
from dicom_sr.parse import Told, is_own, parse
from dicom_sr.source import Acquisition
from tests.sr_films import (
    CARD,
    EFFUSION,
    PNEUMOTHORAX,
    POLICY,
    SCORER,
    build_failure,
    film,
    second_film,
    stored,
    two_images,
)
from tests.sr_films import build as build_study
from worklist.account import Account, Certainty, Change, Check, Comparison, Layer, Statement, Verdict
from worklist.card import FindingCard, Precision, ScorerCard
from worklist.comparison import ComparedFinding, PriorComparison, PriorReport
from worklist.errors import InvalidInput
from worklist.finding import (
    KNOWN_FINDINGS,
    Algorithm,
    Analysis,
    Code,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Side,
    Snippet,
)
from worklist.order import OrderPriority
from worklist.step import Step, StepName, StepVerdict
from worklist.study import Failure
from worklist.triage import SiteChoices, TriagePolicy, Urgency, assess

FORMAT_1 = Path(__file__).with_name("format_1")  # written by 31f01ca on simulated films of nobody, kept as they are
FORMAT_2 = Path(__file__).with_name("format_2")  # written by 23cc2b0 on simulated films of nobody, kept as they are
FORMAT_3 = Path(__file__).with_name("format_3")  # written by 8dde3fe on simulated films of nobody, kept as they are
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


kinds = st.sampled_from([*KNOWN_FINDINGS.values()]) | st.builds(
    FindingType,
    key=st.from_regex(r"own_[a-z]{1,8}", fullmatch=True),
    code=st.builds(
        Code,
        value=st.from_regex(r"[0-9]{4,30}", fullmatch=True),
        scheme=st.sampled_from(["SCT", "99OTHER"]),
        meaning=names,
    ),
    label=texts,
)
precisions = st.builds(
    Precision,
    value=probabilities,
    n=st.integers(1, 10**6),
    interval=st.none() | st.tuples(probabilities, probabilities),
)


statements = st.builds(
    Statement,
    type=kinds,
    certainty=st.sampled_from(Certainty),
    sides=st.sampled_from([(), (Side.LEFT,), (Side.RIGHT,), (Side.RIGHT, Side.LEFT)]),
    is_supported=st.booleans(),
    region=st.none()
    | st.builds(Region, x=st.integers(0, 9), y=st.integers(0, 9), width=st.integers(1, 9), height=st.integers(1, 9)),
)


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """Any account of an explanation."""
    instead_of = draw(st.just("") | texts)
    return Account(
        explained_at=draw(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))),  # noqa: DTZ001
        elapsed_ms=draw(st.floats(0.0, 1e7)),
        sop_instance_uid=draw(st.sampled_from(["", "1.2.3.4.1"])),
        instead_of=instead_of,
        why=draw(texts) if instead_of else "",
        prompt_sha256=draw(st.just("") | st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        statements=tuple(draw(st.lists(statements, max_size=3))),
        comparison=draw(
            st.none()
            | st.builds(
                Comparison, change=st.sampled_from(Change), compared_with=st.lists(texts, max_size=2).map(tuple)
            )
        ),
        uncertainty=draw(st.just("") | texts),
        checks=tuple(
            draw(
                st.lists(
                    st.builds(
                        Check,
                        layer=st.sampled_from(Layer),
                        attempt=st.integers(1, 2),
                        verdict=st.sampled_from(Verdict),
                        detail=st.just("") | texts,
                    ),
                    max_size=3,
                )
            )
        ),
        saw_film_alone=draw(st.booleans()),
    )


steps = st.builds(
    Step,
    name=st.sampled_from(StepName),
    verdict=st.sampled_from(StepVerdict),
    elapsed_ms=st.floats(0.0, 1e7),
    input=texts.map(lambda text: f"a {text}"),
    output=texts.map(lambda text: f"a {text}"),
)


@st.composite
def finding_cards(draw: st.DrawFn, kind: FindingType) -> FindingCard:
    """What a card may say of a finding, which always weighs something."""
    critical = draw(st.none() | precisions)
    return FindingCard(
        type=kind,
        weight=draw(st.floats(0.1, 1.0)),
        is_shown=draw(st.booleans()),
        named_from=draw(st.none() | probabilities),
        precision=draw(st.none() | precisions),
        critical_from=draw(st.none() | probabilities) if critical else None,
        critical_precision=critical,
    )


@st.composite
def policies(draw: st.DrawFn) -> TriagePolicy:
    """Any site's policy for any scorer."""
    first, *others = draw(st.lists(kinds, min_size=1, max_size=5, unique_by=lambda kind: kind.key))
    findings = [dataclasses.replace(draw(finding_cards(first)), is_shown=True)]
    findings += [draw(finding_cards(kind)) for kind in others]
    card = ScorerCard(
        name=draw(names),
        version=draw(names),
        sha256=draw(st.from_regex(r"[0-9a-f]{64}", fullmatch=True)),
        findings=tuple(findings),
        not_looked_for=tuple(draw(st.lists(texts, max_size=3))),
        flag_from=draw(st.floats(0.001, 0.999)),
        reference=draw(texts),
        reference_harms=tuple(sorted(draw(st.lists(probabilities, max_size=5)))),
    )
    least = draw(st.timedeltas(timedelta(seconds=1), timedelta(hours=5)))
    horizon = least + draw(st.timedeltas(timedelta(seconds=1), timedelta(days=3)))
    site = SiteChoices(
        horizon=horizon,
        steepness=draw(st.floats(0.1, 20)),
        least_head_start=least,
        high_head_start=draw(st.timedeltas(timedelta(0), horizon)),
        alert_budget=draw(st.floats(0.01, 1.0)),
        weights=draw(st.none() | st.just({first.key: draw(st.floats(0.1, 1.0))})),
        language_model_may_raise=draw(st.booleans()),
        prior_raises=draw(st.booleans()),
    )
    return TriagePolicy.of(card, site, harms=draw(st.none() | st.just([0.1, 0.2])))


@st.composite
def studies(draw: st.DrawFn) -> tuple[Analysis, TriagePolicy]:
    """Any Analysis of one to three small images, and a policy for it."""
    policy = draw(policies())
    images = tuple(
        ImageReference(
            study_instance_uid="1.2.3",
            series_instance_uid=f"1.2.3.{draw(st.integers(1, 2))}",
            sop_class_uid=ComputedRadiographyImageStorage,
            sop_instance_uid=f"1.2.3.4.{number}",
            rows=draw(st.integers(1, 300)),
            columns=draw(st.integers(1, 300)),
        )
        for number in draw(st.permutations(range(draw(st.integers(1, 3)))))
    )
    known = [found.type for found in policy.card.findings]
    analysis = Analysis(
        images=images,
        scorer=draw(algorithms),
        findings=tuple(draw(findings(kind, images)) for kind in draw(st.permutations(known))),
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
    analysis = analysis.after(draw(st.lists(steps, max_size=4)))
    if draw(st.booleans()):
        return analysis, policy
    explained = analysis.explained(
        draw(st.just("") | texts),
        explainer=draw(algorithms),
        prompt_version=draw(st.just("") | texts),
        snippets=tuple(draw(st.lists(st.builds(Snippet, source=st.just("") | texts, snippet=texts), max_size=3))),
        account=draw(st.none() | accounts()),
    )
    return dataclasses.replace(explained, prior=draw(st.none() | priors(explained))), policy


@st.composite
def priors(draw: st.DrawFn, analysis: Analysis) -> PriorComparison:
    """Any comparison with an earlier film of the Analysis, or a clash."""
    if draw(st.booleans()):
        return PriorComparison(clash=draw(texts))
    film = ImageReference(
        study_instance_uid="1.2.9",
        series_instance_uid="1.2.9.1",
        sop_class_uid=ComputedRadiographyImageStorage,
        sop_instance_uid="1.2.9.1.1",
        rows=draw(st.integers(1, 300)),
        columns=draw(st.integers(1, 300)),
    )
    report = st.builds(
        PriorReport,
        study_instance_uid=st.just("1.2.9"),
        series_instance_uid=st.just("1.2.9.2"),
        sop_class_uid=st.just(BasicTextSRStorage),
        sop_instance_uid=st.just("1.2.9.2.1"),
        kind=texts,
        limits=st.just("") | texts,
    )
    compared = [
        ComparedFinding(
            type=one.type, then=draw(probabilities), now=one.probability, change=draw(st.sampled_from(Change))
        )
        for one in analysis.findings
        if draw(st.booleans())
    ]
    return PriorComparison(
        study_instance_uid="1.2.9",
        study_date="20260303",
        film=film,
        report=draw(st.none() | report),
        compared=tuple(compared),
        not_compared=draw(st.just("") | texts),
    )


@st.composite
def findings(draw: st.DrawFn, kind: FindingType, images: tuple[ImageReference, ...]) -> Finding:
    """A finding with or without a side and a box, on one of the images."""
    region, image = None, draw(st.sampled_from(images))
    if draw(st.booleans()):
        x, y = draw(st.integers(0, image.columns - 1)), draw(st.integers(0, image.rows - 1))
        width, height = draw(st.integers(1, image.columns - x)), draw(st.integers(1, image.rows - y))
        region = Region(x=x, y=y, width=width, height=height)
    return Finding(
        type=kind,
        probability=draw(probabilities),
        threshold=draw(probabilities),
        side=draw(st.none() | st.sampled_from(Side)),
        region=region,
        sop_instance_uid=image.sop_instance_uid if len(images) > 1 else "",
    )


def _header(image: ImageReference) -> Dataset:
    return film(
        SOPClassUID=image.sop_class_uid,
        SOPInstanceUID=image.sop_instance_uid,
        SeriesInstanceUID=image.series_instance_uid,
        Rows=image.rows,
        Columns=image.columns,
    )


def _build(analysis: Analysis, policy: TriagePolicy = POLICY, unscored: int = 0) -> Results:
    return build_results(
        analysis,
        triage=assess(analysis, policy),
        policy=policy,
        sources={image.sop_instance_uid: _header(image) for image in analysis.images},
        pixels=lambda image: np.zeros((image.rows, image.columns), np.uint8),
        revision=REVISION,
        unscored=unscored,
    )


def _analysis(**changes: Any) -> Analysis:  # noqa: ANN401 - any field of an Analysis
    fields: dict[str, Any] = {
        "images": (
            ImageReference(
                study_instance_uid="1.2.3",
                series_instance_uid="1.2.3.4",
                sop_class_uid=ComputedRadiographyImageStorage,
                sop_instance_uid="1.2.3.4.5",
                rows=60,
                columns=50,
            ),
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
@given(study=studies(), unscored=st.integers(0, 3))
def test_a_study_comes_back_exactly(study: tuple[Analysis, TriagePolicy], unscored: int) -> None:
    """Analysis, triage and policy survive encoding to the last bit, and the policy's digest can be computed again."""
    analysis, policy = study
    report = parse(stored(_build(analysis, policy, unscored).triage_report))
    assert report.analysis == analysis
    assert report.triage == assess(analysis, policy)
    assert report.policy == policy
    assert report.policy.digest == policy.digest
    assert report.card == policy.card
    assert report.urgency is assess(analysis, policy).urgency
    assert report.unscored == unscored
    assert report.failure is None
    assert report.looked_for == tuple(finding.type for finding in analysis.findings)


def test_what_was_shown_and_named_comes_back() -> None:
    """A report says of each finding whether it was shown and whether it was put into words."""
    found, headers = two_images()
    report = parse(stored(build_study(found, sources=headers).triage_report))
    assert report.analysis is not None
    answers = {finding.type.key: (report.is_shown(finding), report.is_named(finding)) for finding in found.findings}
    assert answers == {"pleural_effusion": (True, True), "cardiomegaly": (True, True), "pulmonary_edema": (True, False)}
    assert [image.sop_instance_uid for image in report.analysis.images] == ["1.2.3.6.7", "1.2.3.4.5"]
    assert report.source.sop_instance_uid == "1.2.3.6.7"


@pytest.mark.parametrize(
    ("name", "urgency", "named"),
    [("critical", Urgency.CRITICAL, {"pneumothorax", "pleural_effusion"}), ("routine", Urgency.NONE, set())],
)
def test_a_report_of_the_first_format_is_read(name: str, urgency: Urgency, named: set[str]) -> None:
    """A report of format 1 keeps its numbers; what it called routine reads as no flag, and it knew no policy."""
    report = parse(pydicom.dcmread(FORMAT_1 / f"{name}.dcm"))
    assert (report.format, report.urgency) == (1, urgency)
    assert (report.triage, report.policy, report.card) == (None, None, None)
    assert report.analysis is not None
    assert report.scorer == SCORER
    probabilities = {finding.type.key: finding.probability for finding in report.analysis.findings}
    assert probabilities["pulmonary_edema"] == 0.12
    assert {finding.type.key for finding in report.analysis.findings if report.is_named(finding)} == named
    assert all(report.is_shown(finding) for finding in report.analysis.findings)
    boxed = [finding for finding in report.analysis.findings if finding.region]
    assert all(report.analysis.image_of(finding) == report.source for finding in boxed)
    assert len(boxed) == len(named)


@pytest.mark.parametrize(("name", "scorer", "looked_for"), [("failed", SCORER, 6), ("failed_early", None, 0)])
def test_a_failure_of_the_first_format_is_read(name: str, scorer: Algorithm | None, looked_for: int) -> None:
    """A failed report of format 1 says what failed, also where it did not know what was to score."""
    report = parse(pydicom.dcmread(FORMAT_1 / f"{name}.dcm"))
    assert report.failure is not None
    assert report.failure.code == {"failed": "not_frontal", "failed_early": "no_model"}[name]
    assert report.scorer == scorer
    assert len(report.looked_for) == looked_for
    assert (report.analysis, report.urgency) == (None, None)


def test_a_report_of_the_second_format_is_read() -> None:
    """Its numbers, triage, policy and card come back, and what it tells is what it told, whatever today's rule says."""
    report = parse(pydicom.dcmread(FORMAT_2 / "critical.dcm"))
    assert (report.format, report.revision, report.unscored, report.urgency) == (2, 1, 1, Urgency.CRITICAL)
    assert report.analysis is not None
    assert report.triage is not None
    assert report.policy is not None
    assert (report.analysis.score, report.analysis.threshold, report.analysis.elapsed_ms) == (0.95, 0.3, 12.0)
    found = {finding.type: finding for finding in report.analysis.findings}
    effusion = dataclasses.replace(EFFUSION, region=Region(x=300, y=500, width=500, height=300))
    assert found[FindingType.PNEUMOTHORAX] == PNEUMOTHORAX
    assert found[FindingType.PLEURAL_EFFUSION] == effusion, "evidence is kept"
    assert (report.analysis.box_of(effusion), report.analysis.side_of(effusion)) == (None, None)
    assert [named.words for named in report.triage.named] == [
        "Pneumothorax likely, right",
        "Pleural effusion likely, left",
        "Cardiomegaly possible",
    ]
    assert report.told["pleural_effusion"] == Told(side=Side.LEFT, box=effusion.region)
    today = assess(report.analysis, report.policy)
    assert dataclasses.replace(report.triage, named=today.named) == today
    assert report.policy.digest == report.triage.policy_digest
    assert report.policy.site.weights == {"pleural_effusion": 0.9}
    assert [note.code for note in report.analysis.quality] == ["low_contrast"]
    assert [(snippet.source, snippet.snippet) for snippet in report.analysis.snippets] == [
        ("1.2.3.9", "No pneumothorax.")
    ]
    assert set(report.acquisitions.values()) == {Acquisition()}


def test_other_reports_of_the_second_format_are_read() -> None:
    """A study of two images, one without a flag and a failed one: each as it was built."""
    both = parse(pydicom.dcmread(FORMAT_2 / "two_images.dcm"))
    assert both.analysis == two_images()[0]
    quiet = parse(pydicom.dcmread(FORMAT_2 / "no_flag.dcm"))
    assert (quiet.urgency, quiet.analysis and quiet.analysis.score) == (Urgency.NONE, 0.1)
    failed = parse(pydicom.dcmread(FORMAT_2 / "failed.dcm"))
    assert failed.failure == Failure(code="not_frontal", message="It is lateral.")
    assert (failed.card, failed.scorer, failed.analysis) == (CARD, SCORER, None)


def test_reports_of_the_third_format_are_read() -> None:
    """All of it comes back, but for an account of the explanation, which it did not have."""
    report = parse(pydicom.dcmread(FORMAT_3 / "critical.dcm"))
    assert (report.format, report.unscored, report.urgency) == (3, 1, Urgency.CRITICAL)
    assert report.analysis is not None
    assert report.analysis.account is None
    assert report.analysis.explanation == "The lung edge is displaced."
    assert [(snippet.source, snippet.snippet) for snippet in report.analysis.snippets] == [
        ("1.2.3.9", "No pneumothorax.")
    ]
    assert report.triage == assess(report.analysis, POLICY)
    assert report.acquisitions["1.2.3.4.5"] == Acquisition(view="PA", station="CR1", order_priority=OrderPriority.STAT)
    assert parse(pydicom.dcmread(FORMAT_3 / "two_images.dcm")).analysis == two_images()[0]
    assert parse(pydicom.dcmread(FORMAT_3 / "no_flag.dcm")).urgency is Urgency.NONE
    assert parse(pydicom.dcmread(FORMAT_3 / "failed.dcm")).failure == Failure(
        code="not_frontal", message="It is lateral."
    )


def test_how_each_image_was_made_comes_back() -> None:
    """View, station, maker, ward and order of each image are in its report, also where it failed."""
    found, headers = two_images()
    headers["1.2.3.4.5"].update(
        film(StationName="CR1", Manufacturer="Maker", RequestedProcedurePriority="STAT", CurrentPatientLocation="5 B")
    )
    headers["1.2.3.6.7"].update(film(RequestedProcedurePriority="urgent", InstitutionalDepartmentName="Radiology"))
    headers["1.2.3.6.7"].update(second_film())
    report = parse(stored(build_study(found, sources=headers).triage_report))
    assert report.analysis == found
    assert report.acquisitions == {
        "1.2.3.4.5": Acquisition(
            view="PA", station="CR1", manufacturer="Maker", ward="5 B", order_priority=OrderPriority.STAT
        ),
        "1.2.3.6.7": Acquisition(view="AP", ward="Radiology"),
    }
    alone = film(ViewPosition=None, RequestingService="ED", RequestedProcedurePriority="ROUTINE")
    failed = parse(stored(build_failure(alone).triage_report))
    assert failed.acquisitions == {"1.2.3.4.5": Acquisition(ward="ED", order_priority=OrderPriority.ROUTINE)}


def test_the_report_says_which_run_it_was() -> None:
    """Revision, times, format and the report's own UIDs come back with the Analysis."""
    built = _build(_analysis()).triage_report
    report = parse(stored(built))
    assert (report.revision, report.format) == (3, 4)
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
    back = parse(stored(_build(analysis).triage_report)).analysis
    assert back is not None
    assert back.explanation == "First line.\r\n\tSecond  line ."
    assert back.explainer == explainer


def test_a_failure_comes_back() -> None:
    """A failure report gives its code and message, no analysis and no urgency, and what was to be looked for."""
    source = _header(_analysis().image)
    built = build_failure_report(
        source=source,
        code="not_frontal",
        message="This is a lateral film; Firstread judges frontal films.",
        revision=Revision(number=1, reported_at=REVISION.reported_at),
        card=CARD,
        scorer=_analysis().scorer,
    )
    report = parse(stored(built.triage_report))
    assert report.failure == Failure(
        code="not_frontal", message="This is a lateral film; Firstread judges frontal films."
    )
    assert report.analysis is None
    assert report.urgency is None
    assert report.card == CARD
    assert report.looked_for == tuple(found.type for found in CARD.findings)
    assert report.scorer == _analysis().scorer
    assert (report.fetched_at, report.scored_at, report.reported_at) == (None, None, REVISION.reported_at)
    assert report.source.sop_instance_uid == "1.2.3.4.5"
    assert built.objects == (built.triage_report,)


def test_a_film_is_not_a_report() -> None:
    """Parsing something else is refused as invalid input, not as a crash."""
    with pytest.raises(InvalidInput) as caught:
        parse(film())
    assert caught.value.code == "not_a_triage_report"


def test_the_findings_are_not_the_triage_report() -> None:
    """Our other SR is refused, too: it does not hold an Analysis."""
    findings_report = build_study().findings_report
    assert findings_report is not None
    with pytest.raises(InvalidInput) as caught:
        parse(stored(findings_report))
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
        item
        for item in report.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning != "Technical: processing"
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
                item.MeasuredValueSequence[0].NumericValue = "5"
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
    results = build_study(optional=True)
    assert all(is_own(item) for item in results.objects)
    assert not is_own(film())
