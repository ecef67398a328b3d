"""A study with its findings, a card and a policy, from which the tests build every object."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage

from dicom_sr.build import InstanceReference, Results, Revision, build_failure_report, build_results
from worklist.card import FindingCard, Precision, ScorerCard
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference, Region, Side, merge
from worklist.triage import SiteChoices, TriagePolicy, assess

ROWS, COLUMNS = 1200, 1000
NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SCORER = Algorithm(name="embedded", version="1.0.0", sha256="ab" * 32, device_uid="2.25.7")
EXPLAINER = Algorithm(name="template", version="2.0", sha256="", device_uid="2.25.8")
CARD = ScorerCard(
    name=SCORER.name,
    version=SCORER.version,
    sha256=SCORER.sha256,
    findings=(
        FindingCard(
            type=FindingType.PNEUMOTHORAX,
            weight=1.0,
            named_from=0.5,
            precision=Precision(value=0.8, n=10, interval=(0.49, 0.94)),
            critical_from=0.9,
            critical_precision=Precision(value=0.9, n=20),
        ),
        FindingCard(
            type=FindingType.PLEURAL_EFFUSION, weight=0.8, named_from=0.5, precision=Precision(value=0.737, n=19)
        ),
        FindingCard(type=FindingType.CARDIOMEGALY, weight=0.2, named_from=0.5, precision=Precision(value=0.556, n=9)),
        FindingCard(type=FindingType.PNEUMONIA, weight=0.5, named_from=0.5, precision=Precision(value=0.6, n=10)),
        FindingCard(type=FindingType.PULMONARY_EDEMA, weight=0.9),
        FindingCard(type=FindingType.CONSOLIDATION, weight=0.5, is_shown=False),
    ),
    not_looked_for=("masses", "free air"),
    flag_from=0.4,
    reference="265 films",
    reference_harms=(0.01, 0.02, 0.05, 0.1, 0.5),
)
POLICY = TriagePolicy.of(CARD, SiteChoices())
PNEUMOTHORAX = Finding(
    type=FindingType.PNEUMOTHORAX,
    probability=0.93,
    threshold=0.5,
    side=Side.RIGHT,
    region=Region(x=100, y=200, width=300, height=400),
)
EFFUSION = Finding(
    type=FindingType.PLEURAL_EFFUSION,
    probability=0.71,
    threshold=0.5,
    side=Side.LEFT,
    region=Region(x=600, y=800, width=400, height=400),
)
CARDIOMEGALY = Finding(
    type=FindingType.CARDIOMEGALY,
    probability=0.6,
    threshold=0.5,
    region=Region(x=300, y=500, width=500, height=300),
)
PNEUMONIA = Finding(
    type=FindingType.PNEUMONIA,
    probability=0.99,
    threshold=0.5,
    region=Region(x=500, y=900, width=50, height=60),
)
EDEMA = Finding(type=FindingType.PULMONARY_EDEMA, probability=0.12, threshold=0.5)
CONSOLIDATION = Finding(
    type=FindingType.CONSOLIDATION,
    probability=0.97,
    threshold=0.5,
    side=Side.LEFT,
    region=Region(x=600, y=100, width=200, height=200),
)


def film(**attributes: Any) -> Dataset:  # noqa: ANN401 - DICOM attributes of any kind
    """A film as the PACS describes it."""
    dataset = Dataset()
    defaults = {
        "SOPClassUID": ComputedRadiographyImageStorage,
        "SOPInstanceUID": "1.2.3.4.5",
        "StudyInstanceUID": "1.2.3",
        "SeriesInstanceUID": "1.2.3.4",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "PatientBirthDate": "19600101",
        "PatientSex": "F",
        "StudyDate": "20261122",
        "StudyTime": "060000",
        "AccessionNumber": "A1",
        "StudyID": "S1",
        "StudyDescription": "Chest PA",
        "ReferringPhysicianName": "Roe^Richard",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "ViewPosition": "PA",
        "BodyPartExamined": "CHEST",
        "PatientOrientation": ["L", "F"],
        "Rows": ROWS,
        "Columns": COLUMNS,
    }
    for keyword, value in {**defaults, **attributes}.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def second_film(**attributes: Any) -> Dataset:  # noqa: ANN401 - DICOM attributes of any kind
    """Another film of the study, smaller and in a series of its own."""
    changes = {"SOPInstanceUID": "1.2.3.6.7", "SeriesInstanceUID": "1.2.3.6", "SeriesNumber": 2, "ViewPosition": "AP"}
    return film(**{**changes, "Rows": 800, "Columns": 700, **attributes})


def reference(source: Dataset) -> ImageReference:
    """A film as an Analysis refers to it."""
    return ImageReference(
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=source.SeriesInstanceUID,
        sop_class_uid=source.SOPClassUID,
        sop_instance_uid=source.SOPInstanceUID,
        rows=source.Rows,
        columns=source.Columns,
    )


def scored(source: Dataset, *findings: Finding, score: float = 0.95) -> Analysis:
    """What the scorer says of one film."""
    return Analysis(
        images=(reference(source),),
        scorer=SCORER,
        findings=findings,
        score=score,
        threshold=0.3,
        completed_at=NOON,
        elapsed_ms=12.0,
    )


def explained(found: Analysis, **changes: Any) -> Analysis:  # noqa: ANN401 - any field
    """An Analysis with words."""
    worded = found.explained("The lung edge is displaced.", explainer=EXPLAINER, prompt_version="t2")
    return dataclasses.replace(worded, **changes)


def analysis(*findings: Finding, score: float = 0.95, **changes: Any) -> Analysis:  # noqa: ANN401 - any field
    """An explained Analysis of that film."""
    return explained(scored(film(), *findings, score=score), **changes)


def two_images() -> tuple[Analysis, dict[str, Dataset]]:
    """A study of two films with both headers: cardiomegaly on the first, an effusion on the second, which leads."""
    effusion = dataclasses.replace(EFFUSION, probability=0.9, region=Region(x=400, y=500, width=200, height=200))
    first = scored(film(), CARDIOMEGALY, EDEMA, score=0.6)
    second = scored(second_film(), effusion, dataclasses.replace(EDEMA, probability=0.3))
    return explained(merge([first, second])), {"1.2.3.4.5": film(), "1.2.3.6.7": second_film()}


def revision(number: int = 1, predecessor: tuple[InstanceReference, ...] = ()) -> Revision:
    """A run at noon."""
    return Revision(
        number=number,
        predecessor=predecessor,
        fetched_at=NOON,
        scored_at=NOON + timedelta(milliseconds=300),
        reported_at=NOON + timedelta(seconds=5),
    )


def build(  # noqa: PLR0913 - what a study may differ in
    found: Analysis | None = None,
    *,
    source: Dataset | None = None,
    sources: Mapping[str, Dataset] | None = None,
    pixels: npt.NDArray[np.uint8] | None = None,
    run: Revision | None = None,
    policy: TriagePolicy = POLICY,
    unscored: int = 0,
    optional: bool = False,
) -> Results:
    """The objects of three located findings and one that is not named, unless something else is asked for."""
    found = found or analysis(PNEUMOTHORAX, EFFUSION, CARDIOMEGALY, EDEMA)
    return build_results(
        found,
        triage=assess(found, policy),
        policy=policy,
        sources=sources or {found.image.sop_instance_uid: film() if source is None else source},
        pixels=lambda image: np.full((image.rows, image.columns), 128, np.uint8) if pixels is None else pixels,
        revision=run or revision(),
        unscored=unscored,
        write_overlay=optional,
        write_key_image=optional,
    )


def build_failure(source: Dataset | None = None, code: str = "not_frontal", message: str = "It is lateral.") -> Results:
    """The objects of a film that could not be scored."""
    return build_failure_report(
        source=film() if source is None else source,
        code=code,
        message=message,
        revision=Revision(number=1, reported_at=NOON),
        card=CARD,
        scorer=SCORER,
    )


def encoded(dataset: Dataset) -> bytes:
    """The bytes that are stored."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def stored(dataset: Dataset) -> Dataset:
    """The object as another program reads it."""
    return pydicom.dcmread(io.BytesIO(encoded(dataset)))


def tree(item: Dataset) -> Iterator[Dataset]:
    """Every content item below an item."""
    for child in item.get("ContentSequence", ()):
        yield child
        yield from tree(child)


def meaning(item: Dataset) -> str:
    """The name of a content item."""
    return str(item.ConceptNameCodeSequence[0].CodeMeaning)


def section(report: Dataset, heading: str) -> Dataset:
    """A section of a report by its heading."""
    (found,) = (item for item in tree(report) if item.ValueType == "CONTAINER" and meaning(item) == heading)
    return found


def sentences(report: Dataset) -> list[str]:
    """The texts of a report or section in reading order."""
    return [str(item.TextValue) for item in tree(report) if item.ValueType == "TEXT"]


def groups(report: Dataset | None) -> list[Dataset]:
    """The measurement groups of the findings report."""
    assert report is not None
    return [item for item in tree(report) if meaning(item) == "Measurement Group"]
