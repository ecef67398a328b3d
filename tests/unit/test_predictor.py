"""One image judged without a site: by the triage rule, in words where they are known, refused without a crash."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from pydicom import Dataset

from models.embedded.scorer import EmbeddedScorer
from models.template import TemplateExplainer
from tests.bad_films import chest
from worker.predict import Prediction, Predictor
from worklist.errors import InvalidInput
from worklist.finding import Analysis, Finding, FindingType, Region, Side
from worklist.media import ImageFormat, image_format
from worklist.scope import ScopeRules
from worklist.triage import SiteChoices, TriagePolicy, Urgency, assess

SCORER = EmbeddedScorer()
POLICY = TriagePolicy.of(SCORER.card, SiteChoices())
PREDICTOR = Predictor(scorer=SCORER, explainer=TemplateExplainer(), scope=ScopeRules())


def part_10(film: Dataset) -> bytes:
    """A dataset as a file's content."""
    stream = io.BytesIO()
    film.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def predict(film: Dataset, policy: TriagePolicy = POLICY) -> Prediction:
    """A film judged by a policy."""
    return PREDICTOR.predict(io.BytesIO(part_10(film)), "the upload", policy)


def prediction(**probabilities: float) -> Prediction:
    """A prediction of a film on which the shipped scorer has found this, each finding in a box of its own."""
    judged = predict(chest(51))
    findings = tuple(
        Finding(
            type=FindingType.of(key),
            probability=probability,
            threshold=0.5,
            region=Region(x=10 + 50 * place, y=20, width=40, height=30),
        )
        for place, (key, probability) in enumerate(probabilities.items())
    )
    analysis: Analysis = replace(judged.analysis, findings=findings)
    return replace(judged, analysis=analysis, triage=assess(analysis, POLICY))


@pytest.mark.parametrize(
    ("flag_from", "urgency", "label"), [(0.0001, Urgency.URGENT, "Urgent"), (0.9999, Urgency.NONE, "Non-Urgent")]
)
def test_the_label_says_whether_it_is_flagged(flag_from: float, urgency: Urgency, label: str) -> None:
    """An image is called what the reading list would call it, and the harm stands beside the one that is flagged."""
    judged = predict(chest(51), replace(POLICY, flag_from=flag_from))
    result = judged.to_json()
    assert (result["urgency"], result["label"], result["threshold"]) == (urgency, label, flag_from)
    assert (result["harm"] >= result["threshold"]) == (label == "Urgent")
    assert result["score"] == judged.analysis.score
    assert result["image"] is None
    assert len(judged.pictures()) == 1 + len(result["crops"])


def test_only_what_may_be_named_has_a_box_with_its_name() -> None:
    """An output no better than chance, and one that is not certain enough, stand among the numbers and nowhere else."""
    judged = prediction(pneumothorax=0.99, pleural_effusion=0.9, cardiomegaly=0.4, consolidation=0.95)
    result = judged.to_json("/predict/x")
    assert {found["name"]: (found["shown"], found["named"]) for found in result["findings"]} == {
        "Pneumothorax": (False, False),
        "Pleural effusion": (True, True),
        "Cardiomegaly": (True, False),
        "Consolidation": (True, False),
    }
    assert result["crops"] == [
        {
            "x": 60,
            "y": 20,
            "w": 40,
            "h": 30,
            "thumb_path": "/predict/x/crop-1.png",
            "finding": "Pleural effusion",
        }
    ]
    assert len(judged.pictures()) == 2


def test_a_box_across_the_middle_is_not_drawn() -> None:
    """An effusion whose evidence crosses the middle has neither box nor side, in JSON and in pictures alike."""
    judged = prediction(pleural_effusion=0.9, cardiomegaly=0.9)
    columns = judged.analysis.image.columns
    across = Region(x=columns // 4, y=20, width=columns // 2, height=30)
    findings = tuple(
        replace(found, region=across, side=Side.RIGHT if found.type is FindingType.PLEURAL_EFFUSION else None)
        for found in judged.analysis.findings
    )
    analysis = replace(judged.analysis, findings=findings)
    judged = replace(judged, analysis=analysis, triage=assess(analysis, POLICY))
    result = judged.to_json()
    assert [crop["finding"] for crop in result["crops"]] == ["Cardiomegaly"]
    assert {found["name"]: found["side"] for found in result["findings"]} == {
        "Pleural effusion": None,
        "Cardiomegaly": None,
    }
    assert len(judged.pictures()) == 2


def test_a_header_that_cannot_be_read_is_refused() -> None:
    """An element that decides the scope and does not decode ends as a refusal that names the file."""
    film = chest(51)
    film.BodyPartExamined = "CHEST"
    content = part_10(film).replace(b"\x28\x00\x10\x00US\x02\x00\x00\x02", b"\x28\x00\x10\x00FD\x02\x00\x00\x02")
    with pytest.raises(InvalidInput) as caught:
        PREDICTOR.predict(io.BytesIO(content), "the upload", POLICY)
    assert caught.value.code == "unreadable_dicom"
    assert caught.value.message.startswith("the upload is broken DICOM")


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
        (b"\xff\xd8\xff\xe0", ImageFormat.JPEG),
        (bytes(128) + b"DICM", ImageFormat.DICOM),
        (b"II*\x00".ljust(128, b"\0") + b"DICM", ImageFormat.DICOM),  # a preamble may be TIFF's (PS3.10 section 7.1)
        (b"\x08\x00\x05\x00", ImageFormat.DICOM),
        (b"\x00\x08\x00\x05", ImageFormat.DICOM),
        (b"GIF89a", None),
        (b"DICM", None),
        (b"", None),
    ],
)
def test_files_are_told_by_their_first_bytes(head: bytes, found: ImageFormat | None) -> None:
    """PNG, JPEG, DICOM with or without preamble and of either byte order, and nothing else."""
    assert image_format(head) is found
