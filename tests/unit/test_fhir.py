"""The AI result of a study as FHIR R4: valid by an independent model, and the very numbers of the reading list."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
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

from dicom_sr import codes
from dicom_sr.uids import derive_uid
from gateway import fhir
from gateway.fhir import MEDIA_TYPE, build_fhir, diagnostic_report, searchset
from gateway.list.items import item
from tests.sr_films import CARD, CARDIOMEGALY, CONSOLIDATION, EDEMA, PNEUMOTHORAX, POLICY, scored, two_images
from tests.sr_films import film as header
from worklist.finding import DISCLAIMER, Analysis, Code, Finding, FindingType, QualityNote, Region, Side
from worklist.job import JobLimits
from worklist.order import OrderPriority
from worklist.reading import unread
from worklist.records import Database, IntakeRecords, JobRecords, Judgement, ListedStudy, ReceivedInstance, Worklist
from worklist.site import SiteRules
from worklist.study import Failure, StudyState
from worklist.triage import NOT_ASSESSED, SiteChoices, TriagePolicy, Urgency, assess

Get = Callable[[str], httpx.Response]

NOON = datetime(2026, 11, 22, 12, 0, 0, 234_000, tzinfo=UTC)


def analysis(*findings: Finding, explanation: str = "The right lung edge is displaced.") -> Analysis:
    """What a model said of a film."""
    note = QualityNote(code="low_contrast", message="The film has low contrast.")
    return dataclasses.replace(
        scored(header(), *findings, score=0.93), explanation=explanation, quality=(note,), completed_at=NOON
    )


def listed(found: Analysis | None, policy: TriagePolicy | None = POLICY, **changes: Any) -> ListedStudy:  # noqa: ANN401 - any
    """A line of the reading list."""
    triage = assess(found, policy) if found and policy else None
    study = ListedStudy(
        rank=1,
        study_instance_uid="1.2.3",
        orthanc_id="o",
        patient_id="P1",
        patient_name="Doe^Jane",
        patient_sex="F",
        patient_age="066Y",
        accession_number="A1",
        study_description="Chest",
        modality="CR",
        ward="",
        station="",
        view="",
        question="",
        prior=None,
        prior_count=0,
        acquired_at=None,
        received_at=NOON,
        order_priority=OrderPriority.ROUTINE,
        urgency=triage.urgency if triage else None,
        score=found.score if found else None,
        harm=triage.harm if triage else None,
        state=StudyState.REPORTED if found else StudyState.WAITING,
        reading=unread(NOON),
        is_overdue=False,
        queue_at=NOON,
        reason="",
        failure=None,
        judgement=Judgement(found, triage) if found else None,
        policy=policy if found else None,
        result_series_uids=(),
        crop_count=0,
        updated_at=NOON,
    )
    return dataclasses.replace(study, **changes)


REPORTED = listed(analysis(PNEUMOTHORAX, EDEMA, CONSOLIDATION))
UNSCORED = listed(None)


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


def test_a_side_that_the_evidence_does_not_bear_out_is_not_told() -> None:
    """An effusion across the middle of the film has no body site and no side in words, as on the list."""
    across = dataclasses.replace(PNEUMOTHORAX, region=Region(x=300, y=200, width=400, height=400))
    study = listed(analysis(across))
    observation = observations(validated(study))["Pneumothorax"]
    assert "bodySite" not in observation
    assert observation["interpretation"][0]["text"] == "Pneumothorax likely"
    assert [finding["side"] for finding in item(study)["findings"]] == [None]
    assert observations(validated(REPORTED))["Pneumothorax"]["bodySite"]["text"] == "The patient's right side"


def test_every_finding_shown_is_an_observation_with_the_exact_numbers() -> None:
    """Probability and threshold come out of the percentages to the last digit, beside side, image and model."""
    found = observations(validated(REPORTED))
    assert set(found) == {"Any urgent finding", "Pneumothorax", "Pulmonary edema"}, "consolidation is not shown"
    for name, probability, threshold in (
        ("Any urgent finding", 0.93, 0.3),
        ("Pneumothorax", 0.93, 0.5),
        ("Pulmonary edema", 0.12, 0.5),
    ):
        assert fraction(found[name]["valueQuantity"]) == Decimal(str(probability))
        assert fraction(component(found[name], "Threshold Value")["valueQuantity"]) == Decimal(str(threshold))
        assert component(found[name], "Source of Measurement")["valueString"] == "urn:oid:1.2.3.4.5"
        assert found[name]["device"] == {"reference": "#scorer"}
        assert found[name]["note"][-1]["text"] == DISCLAIMER
    assert found["Pneumothorax"]["bodySite"]["coding"][0]["display"] == "Right"
    assert "bodySite" not in found["Pulmonary edema"]
    (named,) = found["Pneumothorax"]["interpretation"]
    assert (named["coding"][0]["code"], named["text"]) == ("POS", "Pneumothorax likely, right")
    (unnamed,) = found["Pulmonary edema"]["interpretation"]
    assert (unnamed["coding"][0]["code"], unnamed["text"]) == ("not-named", "Not certain enough to name, not excluded")
    assert found["Any urgent finding"]["note"][0]["text"] == "The film has low contrast."


def component(observation: dict[str, Any], display: str) -> dict[str, Any]:
    """The one component of this name."""
    (found,) = (part for part in observation["component"] if part["code"]["coding"][0]["display"] == display)
    return dict(found)


def test_the_class_stands_with_the_harm_that_it_follows_from() -> None:
    """Of the score it is said as what the study is flagged, by which harm and threshold, and under which policy."""
    report = validated(REPORTED)
    score = observations(report)["Any urgent finding"]
    assert score["interpretation"][0]["text"] == "Critical finding suspected"
    assert score["interpretation"][0]["coding"][0]["code"] == "RID49480"
    assert REPORTED.triage is not None
    assert component(score, "Harm of waiting")["valueQuantity"]["value"] == REPORTED.triage.harm
    assert component(score, "Harm from which a study is flagged")["valueQuantity"]["value"] == POLICY.flag_from
    (device,) = (item for item in report["contained"] if item["resourceType"] == "Device")
    (policy,) = device["property"]
    assert policy["type"]["coding"][0]["code"] == "policy-sha256"
    assert policy["valueCode"] == [{"text": POLICY.digest}]


def test_without_a_flag_there_is_no_category() -> None:
    """Where nothing is flagged no code says so, least of all that of a negative or normal result."""
    report = validated(listed(analysis(EDEMA)))
    score = observations(report)["Any urgent finding"]
    assert score["interpretation"] == [{"text": "No AI flag"}]
    assert "conclusionCode" not in report
    said = {
        coding["code"]
        for resource in report["contained"]
        for interpretation in resource.get("interpretation", ())
        for coding in interpretation.get("coding", ())
    }
    assert said == {"not-named"}
    assert "RID4948" not in str(report)


def test_a_named_finding_without_a_flag_is_a_conclusion_all_the_same() -> None:
    """What is put into words is coded as a conclusion, whether or not the study is flagged for it."""
    report = validated(listed(analysis(CARDIOMEGALY)))
    assert [code["coding"][0]["code"] for code in report["conclusionCode"]] == ["8186001"]


def test_each_finding_names_its_own_image() -> None:
    """Of a study of two images the score names both, the leading one first, and each finding the one that shows it."""
    found, _ = two_images()
    found_on = observations(validated(listed(found)))
    images = {
        name: [part["valueString"] for part in resource["component"] if "valueString" in part]
        for name, resource in found_on.items()
    }
    assert images == {
        "Any urgent finding": ["urn:oid:1.2.3.6.7", "urn:oid:1.2.3.4.5"],
        "Pleural effusion": ["urn:oid:1.2.3.6.7"],
        "Cardiomegaly": ["urn:oid:1.2.3.4.5"],
        "Pulmonary edema": ["urn:oid:1.2.3.6.7"],
    }


def test_without_a_policy_no_finding_is_shown() -> None:
    """Where no policy says what may be shown, the score stands alone and is not interpreted."""
    report = validated(listed(analysis(PNEUMOTHORAX), None))
    assert set(observations(report)) == {"Any urgent finding"}
    assert "interpretation" not in observations(report)["Any urgent finding"]
    assert "conclusionCode" not in report


def test_a_finding_in_a_scheme_of_its_own_is_valid() -> None:
    """A scorer may code a finding in a scheme that has no address; its code and name stay."""
    kind = FindingType(key="own", code=Code(value="x1", scheme="99OTHER", meaning="Own"), label="Own finding")
    card = dataclasses.replace(CARD, findings=(dataclasses.replace(CARD.findings[0], type=kind),))
    found = analysis(Finding(type=kind, probability=0.8, threshold=0.5))
    report = validated(listed(found, TriagePolicy.of(card, SiteChoices())))
    assert observations(report)["Own finding"]["code"]["coding"] == [{"code": "x1", "display": "Own"}]


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
        (UNSCORED, "registered", f"{NOT_ASSESSED} yet."),
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
            listed(analysis(PNEUMOTHORAX, explanation=""), state=StudyState.SCORED),
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
        listed(analysis(PNEUMOTHORAX, explanation="<script>alert(1)</script>\x07 & more")),
        patient_id=" \x00P<1> ",
        accession_number="\t",
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
    found = observations(validated(listed(analysis(finding))))
    assert float(fraction(found["Pneumonia"]["valueQuantity"])) == pytest.approx(probability, rel=1e-15, abs=0)
    (interpretation,) = found["Pneumonia"]["interpretation"]
    assert (interpretation["coding"][0]["code"] == "POS") is (probability >= 0.5), "the card names it from 0.5 on"


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
    for name in (
        "CHEST_CAD_REPORT",
        "CERTAINTY_OF_IMPRESSION",
        "THRESHOLD",
        "SOURCE_OF_MEASUREMENT",
        "NOT_NAMED",
        "HARM",
        "FLAG_FROM",
        "POLICY_SHA256",
    ):
        assert _same(getattr(fhir, name), getattr(codes, name))
    assert set(fhir.URGENCIES) == set(codes.URGENCIES) == {Urgency.CRITICAL, Urgency.URGENT}
    assert all(_same(fhir.URGENCIES[urgency], code) for urgency, code in codes.URGENCIES.items())
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
def get(tmp_path: Path, migrated_sqlite: bytes) -> Iterator[Get]:
    """The routes over a reading list with one scored study, 1.2.3."""
    (tmp_path / "firstread.db").write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{tmp_path}/firstread.db")) as database:
        received = ReceivedInstance(
            orthanc_id="o",
            instance_orthanc_id="i",
            study_instance_uid="1.2.3",
            series_instance_uid="1.2.3.4",
            sop_instance_uid="1.2.3.4.5",
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
        rules = SiteRules()
        shared = [replace(received, orthanc_id=name, study_instance_uid="1.9", patient_id=name) for name in ("a", "b")]
        IntakeRecords(database, rules).ingest([received, *shared], [])
        jobs = JobRecords(database, rules, JobLimits())
        jobs.adopt_policy(POLICY)
        job_id = jobs.due(1)[0][0]
        assert jobs.claim(job_id, "w")
        assert jobs.complete_score(job_id, "w", scored(header(), PNEUMOTHORAX, score=0.93))
        app = FastAPI()
        app.include_router(build_fhir(Worklist(database, rules)))

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
        ("/fhir/DiagnosticReport?study=1.9", 409, "multiple-matches"),
        ("/fhir/DiagnosticReport/1.9", 409, "multiple-matches"),
    ],
)
def test_a_refusal_is_an_operation_outcome(get: Get, path: str, status: int, code: str) -> None:
    """What cannot be answered is refused in FHIR's own words."""
    answer = get(path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == MEDIA_TYPE
    OperationOutcome.model_validate(answer.json())
    assert answer.json()["issue"][0]["code"] == code
