"""`GET /fhir/DiagnosticReport`: the AI result of a study as FHIR R4, from the same Analysis as the reading list.

One DiagnosticReport a study, with its Observations and the Device contained, because none of them lives on its own.
Only findings that are shown on the list are in it, and only those that may be put into words are interpreted.
The resources are plain dictionaries: classes of fhir.resources would cost the gateway 20 MB and a pin on pydantic, and
what they check does not depend on the request, so the tests check it with them instead.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from worklist.errors import Conflict
from worklist.finding import DISCLAIMER, Algorithm, Analysis, Code, Finding, ImageReference, Side
from worklist.records import ListedStudy, Worklist
from worklist.scope import MANUFACTURER
from worklist.study import StudyState
from worklist.triage import NOT_ASSESSED, Triage, Urgency

MEDIA_TYPE = "application/fhir+json"

_UID: Final = re.compile(r"(urn:oid:)?(?P<uid>[0-9]+(\.[0-9]+)*)")
_UID_CHARACTERS: Final = 64
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
_DICOM_UIDS: Final = "urn:dicom:uid"
_TERMINOLOGY: Final = "http://terminology.hl7.org/CodeSystem"
CODE_SYSTEMS: Final = {  # FHIR R4, 4.3 Using Codes; PS3.16 section 8
    "SCT": "http://snomed.info/sct",
    "DCM": "http://dicom.nema.org/resources/ontology/DCM",
    "RADLEX": "http://radlex.org",
    "99FIRSTREAD": "urn:oid:2.25.153006552991340519047774158926496659651",
}
# The codes of the SRs once more: the gateway does not import dicom_sr. A test compares them.
CHEST_CAD_REPORT: Final = Code(value="112000", scheme="DCM", meaning="Chest CAD Report")
CERTAINTY_OF_IMPRESSION: Final = Code(value="111013", scheme="DCM", meaning="Certainty of Impression")
THRESHOLD: Final = Code(value="122411", scheme="DCM", meaning="Threshold Value")
SOURCE_OF_MEASUREMENT: Final = Code(value="121112", scheme="DCM", meaning="Source of Measurement")
NOT_NAMED: Final = Code(value="not-named", scheme="99FIRSTREAD", meaning="Looked for, not certain enough to name")
HARM: Final = Code(value="harm", scheme="99FIRSTREAD", meaning="Harm of waiting")
FLAG_FROM: Final = Code(value="flag-from", scheme="99FIRSTREAD", meaning="Harm from which a study is flagged")
POLICY_SHA256: Final = Code(value="policy-sha256", scheme="99FIRSTREAD", meaning="SHA-256 of the triage policy")
URGENCIES: Final = {  # CID 7035; none where nothing is flagged
    Urgency.CRITICAL: Code(value="RID49480", scheme="RADLEX", meaning="ACR Category 1 Actionable Finding"),
    Urgency.URGENT: Code(value="RID49481", scheme="RADLEX", meaning="ACR Category 2 Actionable Finding"),
}
SIDES: Final = {  # CID 244
    Side.RIGHT: Code(value="24028007", scheme="SCT", meaning="Right"),
    Side.LEFT: Code(value="7771000", scheme="SCT", meaning="Left"),
}
_POSITIVE: Final = {"system": f"{_TERMINOLOGY}/v3-ObservationInterpretation", "code": "POS", "display": "Positive"}
_ANY_URGENT: Final = "Any urgent finding"
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "An OperationOutcome: no Study Instance UID"},
    404: {"description": "An OperationOutcome: the study is not on the reading list"},
    409: {"description": "An OperationOutcome: several patients share the Study Instance UID; it names their studies"},
}

Resource = dict[str, Any]


def build_fhir(worklist: Worklist) -> APIRouter:
    """The routes below /fhir."""
    router = APIRouter(prefix="/fhir", tags=["fhir"])

    @router.get("/DiagnosticReport", response_class=FhirResponse, responses=_REFUSALS)
    def search(request: Request, study: str = "") -> JSONResponse:
        """The AI result of one study as a searchset Bundle; study is its UID, with or without urn:oid: before it."""
        uid = _UID.fullmatch(study)
        if uid is None or len(uid["uid"]) > _UID_CHARACTERS:
            return _refusal(400, "invalid", "name one study: /fhir/DiagnosticReport?study=<Study Instance UID>")
        try:
            listed = worklist.find(uid["uid"])
        except Conflict as error:
            return _refusal(409, "multiple-matches", error.message)
        if listed is None:
            return _unknown(uid["uid"])
        return FhirResponse(searchset(listed, str(request.url), str(request.base_url).rstrip("/")))

    @router.get("/DiagnosticReport/{study_instance_uid}", response_class=FhirResponse, responses=_REFUSALS)
    def read(study_instance_uid: str) -> JSONResponse:
        """The AI result of one study; the resource's id is its address, which mostly is the Study Instance UID."""
        try:
            listed = worklist.find(study_instance_uid)
        except Conflict as error:
            return _refusal(409, "multiple-matches", error.message)
        return FhirResponse(diagnostic_report(listed)) if listed else _unknown(study_instance_uid)

    return router


class FhirResponse(JSONResponse):
    """A resource as application/fhir+json."""

    media_type = MEDIA_TYPE


def searchset(study: ListedStudy, url: str, root: str) -> Resource:
    """A Bundle with the report of a study.

    Args:
        study: the line of the reading list.
        url: the search as it was asked.
        root: the gateway's own address.
    """
    entry = {
        "fullUrl": f"{root}/fhir/DiagnosticReport/{study.address}",
        "resource": diagnostic_report(study),
        "search": {"mode": "match"},
    }
    link = [{"relation": "self", "url": url}]
    return {"resourceType": "Bundle", "type": "searchset", "total": 1, "link": link, "entry": [entry]}


def diagnostic_report(study: ListedStudy) -> Resource:
    """The report of a study.

    preliminary once it is explained, partial while it only has a score, registered while it waits, and cancelled where
    it failed or is out of scope: a study without findings is never an empty report.
    """
    analysis = study.analysis
    conclusion = _text(analysis.explanation) if analysis else _why_not(study)
    report: Resource = {
        "resourceType": "DiagnosticReport",
        "id": study.address,
        "meta": {
            "lastUpdated": _instant(study.updated_at),
            # says of the resource that software asserted it, and no human
            "security": [{"system": f"{_TERMINOLOGY}/v3-ObservationValue", "code": "AIAST"}],
        },
        "text": _narrative(conclusion),
        "status": _status(study),
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}/v2-0074", "code": "RAD", "display": "Radiology"}]}],
        "code": _concept(CHEST_CAD_REPORT),
        **_subject(study),
        "imagingStudy": [_imaging_study(study)],
        "conclusion": conclusion,
    }
    if accession_number := _text(study.accession_number):
        accession = {"type": _identifier_type("ACSN"), "value": accession_number}
        report["basedOn"] = [{"type": "ServiceRequest", "identifier": accession}]
    if analysis is None:
        return _without_empty(report)
    triage = study.triage
    shown = triage.shown if triage else ()
    observations = [
        _score(study, analysis),
        *(_finding(study, analysis, finding, position) for position, finding in enumerate(shown, start=1)),
    ]
    verdicts = [URGENCIES[triage.urgency]] if triage and triage.urgency in URGENCIES else []
    verdicts += [named.finding.type.code for named in triage.named] if triage else []
    report |= {
        "contained": [_device(analysis.scorer, triage), *observations],
        "issued": _instant(analysis.completed_at),
        "result": [{"reference": f"#{observation['id']}"} for observation in observations],
        "conclusionCode": [_concept(code) for code in verdicts],
    }
    return _without_empty(report)


def _status(study: ListedStudy) -> str:
    if study.analysis:
        return "preliminary" if study.analysis.explanation else "partial"
    return "registered" if study.state in {StudyState.WAITING, StudyState.SCORED} else "cancelled"


def _why_not(study: ListedStudy) -> str:
    return f"{NOT_ASSESSED}. {_text(study.failure.message)}" if study.failure else f"{NOT_ASSESSED} yet."


def _score(study: ListedStudy, analysis: Analysis) -> Resource:
    """The score of all images, with the class of the study, the harm that it follows from, and what limits them."""
    measured = _measured(study, analysis, "score", value=analysis.score, images=analysis.images)
    measured["code"] = {**_concept(CERTAINTY_OF_IMPRESSION), "text": _ANY_URGENT}
    measured["component"].append({"code": _concept(THRESHOLD), "valueQuantity": _percent(analysis.threshold)})
    if study.triage:
        urgency = study.triage.urgency
        coded = _concept(URGENCIES[urgency]) if urgency in URGENCIES else {}
        measured["interpretation"] = [coded | {"text": urgency.label}]
        measured["component"].append({"code": _concept(HARM), "valueQuantity": _plain(study.triage.harm)})
    if study.policy:
        measured["component"].append({"code": _concept(FLAG_FROM), "valueQuantity": _plain(study.policy.flag_from)})
    notes = [text for note in analysis.quality if (text := _text(note.message))]
    return measured | {"note": [{"text": text} for text in (*notes, DISCLAIMER)]}


def _finding(study: ListedStudy, analysis: Analysis, finding: Finding, position: int) -> Resource:
    """A finding that is shown; one that may not be put into words is said to be uncertain, never to be negative."""
    images = (analysis.image_of(finding),)
    measured = _measured(study, analysis, f"finding-{position}", value=finding.probability, images=images)
    measured["code"] = {**_concept(finding.type.code), "text": finding.type.label}
    measured["component"].append({"code": _concept(THRESHOLD), "valueQuantity": _percent(finding.threshold)})
    named = {one.finding.type.key: one for one in study.triage.named} if study.triage else {}
    if finding.type.key in named:
        measured["interpretation"] = [{"coding": [_POSITIVE], "text": named[finding.type.key].words}]
    else:
        measured["interpretation"] = [_concept(NOT_NAMED) | {"text": "Not certain enough to name, not excluded"}]
    if side := analysis.side_of(finding):
        measured["bodySite"] = {**_concept(SIDES[side]), "text": f"The patient's {side} side"}
    return measured | {"note": [{"text": DISCLAIMER}]}


def _measured(
    study: ListedStudy, analysis: Analysis, key: str, *, value: float, images: tuple[ImageReference, ...]
) -> Resource:
    """A probability as an Observation, with the images that it was inferred from."""
    return {
        "resourceType": "Observation",
        "id": key,
        "status": "preliminary",
        "category": [{"coding": [{"system": f"{_TERMINOLOGY}/observation-category", "code": "imaging"}]}],
        **_subject(study),
        "issued": _instant(analysis.completed_at),
        "valueQuantity": _percent(value),
        "device": {"reference": "#scorer"},
        "derivedFrom": [_imaging_study(study)],
        "component": [
            {"code": _concept(SOURCE_OF_MEASUREMENT), "valueString": f"urn:oid:{image.sop_instance_uid}"}
            for image in images
        ],
    }


def _device(scorer: Algorithm, triage: Triage | None) -> Resource:
    """The scorer, and the policy by which its output was triaged as a property of it."""
    versions: list[Resource] = [{"value": scorer.version}]
    if scorer.sha256:
        versions.append({"type": {"text": "SHA-256 of the weights"}, "value": scorer.sha256})
    device: Resource = {
        "resourceType": "Device",
        "id": "scorer",
        "identifier": [{"system": _DICOM_UIDS, "value": f"urn:oid:{scorer.device_uid}"}],
        "manufacturer": MANUFACTURER,
        "deviceName": [{"name": scorer.name, "type": "model-name"}],
        "version": versions,
    }
    if triage:
        device["property"] = [{"type": _concept(POLICY_SHA256), "valueCode": [{"text": triage.policy_digest}]}]
    return device


def _subject(study: ListedStudy) -> Resource:
    patient_id = _text(study.patient_id)
    if not patient_id:
        return {}
    identifier = {"type": _identifier_type("MR"), "value": patient_id}
    return {"subject": {"type": "Patient", "identifier": identifier}}


def _imaging_study(study: ListedStudy) -> Resource:
    identifier = {"system": _DICOM_UIDS, "value": f"urn:oid:{study.study_instance_uid}"}
    return {"type": "ImagingStudy", "identifier": identifier}


def _identifier_type(code: str) -> Resource:
    return {"coding": [{"system": f"{_TERMINOLOGY}/v2-0203", "code": code}]}


def _concept(code: Code) -> Resource:
    coding = {"code": code.value, "display": code.meaning}
    if system := CODE_SYSTEMS.get(code.scheme):  # a scorer may bring a scheme of its own, which has no address here
        coding["system"] = system
    return {"coding": [coding]}


def _percent(probability: float) -> Resource:
    # By way of decimals: 0.57 is 57 %, which 0.57 * 100 is not.
    value = float(Decimal(str(probability)) * 100)
    return {"value": value, "unit": "%", "system": "http://unitsofmeasure.org", "code": "%"}


def _plain(value: float) -> Resource:
    return {"value": value, "system": "http://unitsofmeasure.org", "code": "1"}


def _narrative(conclusion: str) -> Resource:
    paragraphs = "".join(f"<p>{html.escape(text)}</p>" for text in (conclusion, DISCLAIMER) if text)
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'}


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: str) -> str:
    """A value as FHIR allows it: no control characters but line breaks and tabs (R4, 2.24.0.1), no outer spaces."""
    return _CONTROL.sub(" ", value).strip()


def _without_empty(resource: Mapping[str, Any]) -> Resource:
    """FHIR knows no empty strings and lists (R4, 2.6.2)."""
    return {key: value for key, value in resource.items() if value not in ("", [])}


def _unknown(study_instance_uid: str) -> JSONResponse:
    return _refusal(404, "not-found", f"study {study_instance_uid} is not on the reading list")


def _refusal(status: int, code: str, what: str) -> JSONResponse:
    """An OperationOutcome with one issue (R4, issue-type)."""
    issue = {"severity": "error", "code": code, "diagnostics": what}
    return FhirResponse({"resourceType": "OperationOutcome", "issue": [issue]}, status_code=HTTPStatus(status))
