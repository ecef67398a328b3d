"""The AI result of a study as FHIR R4: valid by an independent model, and the very numbers of the reading list."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.diagnosticreport import DiagnosticReport
from fhir.resources.R4B.operationoutcome import OperationOutcome
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.sr.coding import Code as SrCode
from worklist.urgency import Urgency

from dicom_sr import codes
from dicom_sr.uids import derive_uid
from gateway import fhir
from gateway.fhir import MEDIA_TYPE, build_fhir, diagnostic_report, searchset
from worklist.finding import (
    DISCLAIMER,
    Algorithm,
    Analysis,
    Code,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Side,
)
from worklist.order import OrderPriority
from worklist.records import (
    Database,
    IntakeRecords,
    JobLimits,
    JobRecords,
    ListedStudy,
    ReadingList,
    ReceivedInstance,
)
from worklist.study import Failure, ReadingPolicy, StudyState

Get = Callable[[str], httpx.Response]

NOON = datetime(2026, 11, 22, 12, 0, 0, 234_000, tzinfo=UTC)
SCORER = Algorithm(name="embedded", version="1.0.0", sha256="ab" * 32, device_uid="2.25.7")
PNEUMOTHORAX = Finding(type=FindingType.PNEUMOTHORAX, probability=0.57, threshold=0.5, side=Side.RIGHT)
EDEMA = Finding(type=FindingType.PULMONARY_EDEMA, probability=0.0007, threshold=0.5)


def analysis(*findings: Finding, explanation: str = "The right lung edge is displaced.") -> Analysis:
    """What a model said of a film."""
    return Analysis(
        image=ImageReference(
            study_instance_uid="1.2.3",
            series_instance_uid="1.2.3.4",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
            sop_instance_uid="1.2.3.4.5",
            rows=10,
            columns=10,
        ),
        scorer=SCORER,
        findings=findings,
        score=0.93,
        threshold=0.3,
        completed_at=NOON,
        elapsed_ms=12.0,
        quality=(QualityNote(code="low_contrast", message="The film has low contrast."),),
        explanation=explanation,
    )


REPORTED = ListedStudy(
    rank=1,
    study_instance_uid="1.2.3",
    patient_id="P1",
    patient_name="Doe^Jane",
    accession_number="A1",
    study_description="Chest",
    modality="CR",
    received_at=NOON,
    order_priority=OrderPriority.ROUTINE,
    urgency=Urgency.CRITICAL,
    score=0.93,
    state=StudyState.REPORTED,
    queue_at=NOON,
    reason="",
    failure=None,
    analysis=analysis(PNEUMOTHORAX, EDEMA),
    result_series_uids=(),
    crop_count=0,
    updated_at=NOON,
)
UNSCORED = dataclasses.replace(REPORTED, analysis=None, urgency=None, score=None, state=StudyState.WAITING)


def validated(study: ListedStudy) -> dict[str, Any]:
    """The report of a study, once fhir.resources has found it valid with all that it contains."""
    report = diagnostic_report(study)
    DiagnosticReport.model_validate(report)
    return report


def observations(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The contained Observations by what they are of."""
    contained = [resource for resource in report["contained"] if resource["resourceType"] == "Observation"]
    assert report["result"] == [{"reference": f"#{resource['id']}"} for resource in contained]
    return {resource["code"]["text"]: resource for resource in contained}


def fraction(quantity: dict[str, Any]) -> Decimal:
    """A percentage as the probability that it states."""
    assert (quantity["unit"], quantity["code"]) == ("%", "%")
    return Decimal(str(quantity["value"])) / 100


def test_a_reported_study() -> None:
    """The report is preliminary, says what the list says, and names study, patient and order by identifier."""
    report = validated(REPORTED)
    assert report["status"] == "preliminary"
    assert report["conclusion"] == "The right lung edge is displaced."
    assert [code["coding"][0]["code"] for code in report["conclusionCode"]] == ["RID49480", "36118008"]
    assert report["imagingStudy"][0]["identifier"] == {"system": "urn:dicom:uid", "value": "urn:oid:1.2.3"}
    assert report["subject"]["identifier"]["value"] == "P1"
    assert "reference" not in report["subject"]
    assert report["basedOn"][0]["identifier"]["value"] == "A1"
    assert DISCLAIMER in report["text"]["div"]
    assert report["meta"]["security"][0]["code"] == "AIAST"
    assert "presentedForm" not in report
    assert "Doe" not in str(report)


def test_every_finding_is_an_observation_with_the_exact_numbers() -> None:
    """Probability and threshold come out of the percentages to the last digit, beside side and model."""
    found = observations(validated(REPORTED))
    assert set(found) == {"Any urgent finding", "Pneumothorax", "Pulmonary edema"}
    for name, probability, threshold in (
        ("Any urgent finding", 0.93, 0.3),
        ("Pneumothorax", 0.57, 0.5),
        ("Pulmonary edema", 0.0007, 0.5),
    ):
        assert fraction(found[name]["valueQuantity"]) == Decimal(str(probability))
        (component,) = found[name]["component"]
        assert component["code"]["coding"][0]["display"] == "Threshold Value"
        assert fraction(component["valueQuantity"]) == Decimal(str(threshold))
        assert found[name]["device"] == {"reference": "#scorer"}
        assert found[name]["note"][-1]["text"] == DISCLAIMER
    assert found["Pneumothorax"]["bodySite"]["coding"][0]["display"] == "Right"
    assert "bodySite" not in found["Pulmonary edema"]
    assert found["Pneumothorax"]["interpretation"][0]["coding"][0]["code"] == "POS"
    assert found["Pulmonary edema"]["interpretation"][0]["text"] == "Below the threshold, not excluded"
    assert found["Any urgent finding"]["note"][0]["text"] == "The film has low contrast."


def test_nothing_is_ever_called_negative() -> None:
    """No interpretation of any finding is the code for a negative or normal result."""
    report = diagnostic_report(dataclasses.replace(REPORTED, analysis=analysis(EDEMA), urgency=Urgency.ROUTINE))
    said = {
        coding["code"]
        for resource in report["contained"]
        for interpretation in resource.get("interpretation", ())
        for coding in interpretation["coding"]
    }
    assert not said & {"NEG", "N", "ND"}
    assert "below-threshold" in said


def test_the_model_is_a_device() -> None:
    """The contained Device has the model's name, version, weights digest and UID."""
    (device,) = [item for item in diagnostic_report(REPORTED)["contained"] if item["resourceType"] == "Device"]
    assert device["deviceName"] == [{"name": "embedded", "type": "model-name"}]
    assert [version["value"] for version in device["version"]] == ["1.0.0", "ab" * 32]
    assert device["identifier"][0]["value"] == "urn:oid:2.25.7"


FAILURE = Failure(code="lateral_view", message="This is a lateral film.")


@pytest.mark.parametrize(
    ("study", "status", "conclusion"),
    [
        (UNSCORED, "registered", "Not assessed yet."),
        (
            dataclasses.replace(UNSCORED, state=StudyState.FAILED, failure=FAILURE),
            "cancelled",
            "Not assessed. This is a lateral film.",
        ),
        (
            dataclasses.replace(UNSCORED, state=StudyState.OUT_OF_SCOPE, failure=FAILURE),
            "cancelled",
            "Not assessed. This is a lateral film.",
        ),
        (
            dataclasses.replace(REPORTED, state=StudyState.SCORED, analysis=analysis(PNEUMOTHORAX, explanation="")),
            "partial",
            None,
        ),
    ],
)
def test_a_study_without_a_full_result_says_so(study: ListedStudy, status: str, conclusion: str | None) -> None:
    """Waiting, failed, out of scope and merely scored each have their own status, and absence is never silent."""
    report = validated(study)
    assert report["status"] == status
    assert report.get("conclusion") == conclusion
    assert ("result" in report) is (study.analysis is not None)


def test_hostile_words_stay_words() -> None:
    """Markup and control characters of a header or an explainer break neither the narrative nor the resource."""
    study = dataclasses.replace(
        REPORTED,
        patient_id=" \x00P<1> ",
        accession_number="\t",
        analysis=analysis(PNEUMOTHORAX, explanation="<script>alert(1)</script>\x07 & more"),
    )
    report = validated(study)
    assert "<script>" not in report["text"]["div"]
    assert "&lt;script&gt;" in report["text"]["div"]
    assert report["subject"]["identifier"]["value"] == "P<1>"
    assert "basedOn" not in report
    assert "subject" not in validated(dataclasses.replace(REPORTED, patient_id=""))


@settings(max_examples=30)
@given(probability=st.floats(0, 1), threshold=st.floats(0, 1), side=st.none() | st.sampled_from(Side))
def test_any_finding_is_valid_and_exact(probability: float, threshold: float, side: Side | None) -> None:
    """Whatever the numbers, the resource is valid and the probability can be had back unchanged."""
    finding = Finding(type=FindingType.PNEUMONIA, probability=probability, threshold=threshold, side=side)
    found = observations(validated(dataclasses.replace(REPORTED, analysis=analysis(finding, finding))))
    assert float(fraction(found["Pneumonia"]["valueQuantity"])) == pytest.approx(probability, rel=1e-15, abs=0)
    (interpretation,) = found["Pneumonia"]["interpretation"]
    assert (interpretation["coding"][0]["code"] == "POS") is (probability >= threshold)


@pytest.mark.parametrize(
    "change",
    [
        {"status": None},
        {"contained": [{"resourceType": "Observation", "id": "a", "status": "final"}]},
        {"conclusion": ""},
        {"issued": "yesterday"},
        {"unheard-of": 1},
    ],
)
def test_the_validation_can_fail(change: dict[str, Any]) -> None:
    """What fhir.resources takes is no proof unless it refuses what is wrong."""
    with pytest.raises(ValueError, match="validation error"):
        DiagnosticReport.model_validate({**diagnostic_report(REPORTED), **change})


def test_the_codes_are_those_of_the_reports() -> None:
    """A concept has one code, in the SR and here, and the private scheme the UID by which the SR identifies it."""
    for name in ("CHEST_CAD_REPORT", "CERTAINTY_OF_IMPRESSION", "THRESHOLD", "BELOW_THRESHOLD"):
        assert _same(getattr(fhir, name), getattr(codes, name))
    assert all(_same(fhir.URGENCIES[urgency], codes.URGENCIES[urgency]) for urgency in Urgency)
    assert all(_same(fhir.SIDES[side], codes.SIDES[side]) for side in Side)
    assert fhir.CODE_SYSTEMS[codes.SCHEME] == f"urn:oid:{derive_uid('coding scheme', codes.SCHEME)}"


def _same(code: Code, other: SrCode) -> bool:
    return (code.value, code.scheme, code.meaning) == (other.value, other.scheme_designator, other.meaning)


def test_the_bundle() -> None:
    """A search gives a searchset of one match, whose address ends with the report's own id."""
    bundle = searchset(REPORTED, "http://gateway/fhir/DiagnosticReport?study=1.2.3", "http://gateway")
    Bundle.model_validate(bundle)
    assert (bundle["type"], bundle["total"]) == ("searchset", 1)
    (entry,) = bundle["entry"]
    assert entry["fullUrl"] == "http://gateway/fhir/DiagnosticReport/1.2.3"
    assert entry["resource"]["id"] == "1.2.3"


@pytest.fixture
def get(tmp_path: Path, migrated_sqlite: bytes, make_analysis: Callable[..., Analysis]) -> Iterator[Get]:
    """The routes over a reading list with one scored study, 1.2.3."""
    (tmp_path / "firstread.db").write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{tmp_path}/firstread.db")) as database:
        received = ReceivedInstance(
            orthanc_id="o",
            study_instance_uid="1.2.3",
            series_instance_uid="1.2.3.1",
            sop_instance_uid="1.2.3.1.1",
            digest="a",
            received_at=NOON,
            patient_id="4711",
            patient_name="Doe^Jane",
            accession_number="A1",
            study_description="Chest PA",
            modality="DX",
            order_priority=OrderPriority.ROUTINE,
            scope_failure=None,
        )
        IntakeRecords(database, ReadingPolicy()).admit([received], [], NOON)
        jobs = JobRecords(database, ReadingPolicy(), JobLimits())
        (due,) = jobs.due(NOON, 1)
        assert jobs.claim(due.job_id, "w", NOON)
        jobs.complete_score(due.job_id, "w", make_analysis(0.93, {FindingType.PNEUMOTHORAX: 0.57}), NOON)
        app = FastAPI()
        app.include_router(build_fhir(ReadingList(database)))

        def get(path: str) -> httpx.Response:
            return asyncio.run(_get(app, path))

        yield get


async def _get(app: FastAPI, path: str) -> httpx.Response:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
        return await client.get(path)


@pytest.mark.parametrize("study", ["1.2.3", "urn:oid:1.2.3"])
def test_a_search_is_answered_from_the_reading_list(get: Get, study: str) -> None:
    """The search takes the UID with and without urn:oid:, and its entry can be read at its fullUrl."""
    answer = get(f"/fhir/DiagnosticReport?study={study}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    Bundle.model_validate(answer.json())
    (entry,) = answer.json()["entry"]
    assert fraction(observations(entry["resource"])["Any urgent finding"]["valueQuantity"]) == Decimal("0.93")
    assert answer.json()["link"][0]["url"].startswith("http://gateway/fhir/DiagnosticReport?study=")
    assert get(entry["fullUrl"]).json() == entry["resource"]


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/fhir/DiagnosticReport", 400, "invalid"),
        ("/fhir/DiagnosticReport?study=", 400, "invalid"),
        ("/fhir/DiagnosticReport?study=1.2.3%27--", 400, "invalid"),
        (f"/fhir/DiagnosticReport?study={'1' * 65}", 400, "invalid"),
        ("/fhir/DiagnosticReport?study=9.9.9", 404, "not-found"),
        ("/fhir/DiagnosticReport/9.9.9", 404, "not-found"),
    ],
)
def test_a_refusal_is_an_operation_outcome(get: Get, path: str, status: int, code: str) -> None:
    """What cannot be answered is refused in FHIR's own words."""
    answer = get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    OperationOutcome.model_validate(answer.json())
    assert answer.json()["issue"][0]["code"] == code
