"""From an Analysis to the DICOM objects of one revision of a study's AI results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    EnhancedSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    SecondaryCaptureImageStorage,
)

from dicom_sr.attributes import Identity, new_document
from dicom_sr.crops import choose_crops, crop_image
from dicom_sr.findings_report import findings_content, located_findings, where_to_look
from dicom_sr.key_image import key_image
from dicom_sr.overlay import overlay
from dicom_sr.prior_sections import prior_evidence
from dicom_sr.revision import InstanceReference, Revision
from dicom_sr.source import Source
from dicom_sr.triage_report import failure_content, triage_content
from dicom_sr.uids import derive_uid
from worklist.account import account_digest
from worklist.card import ScorerCard
from worklist.comparison import comparison_digest
from worklist.errors import PermanentError
from worklist.finding import Algorithm, Analysis, ImageReference
from worklist.scope import OWN_SERIES_FROM
from worklist.step import steps_digest
from worklist.triage import Triage, TriagePolicy

__all__ = ["InstanceReference", "Results", "Revision", "build_failure_report", "build_results", "revision_of_series"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The objects of one revision.

    Attributes:
        triage_report: always there.
        findings_report: where a finding that is put into words has a box.
        crops: at most 3 evidence crops, the most harmful finding first; none without a box.
        overviews: of each image with a box, the whole image with all its boxes; after the crops in their series.
        overlays: where they are wanted, for each image with a box whose display can be repeated.
        key_image: where it is wanted, and a finding is put into words.
    """

    triage_report: Dataset
    findings_report: Dataset | None = None
    crops: tuple[Dataset, ...] = ()
    overviews: tuple[Dataset, ...] = ()
    overlays: tuple[Dataset, ...] = ()
    key_image: Dataset | None = None

    @property
    def objects(self) -> tuple[Dataset, ...]:
        """All objects in the order of storing: a stored triage report means a complete revision."""
        findings = (self.findings_report,) if self.findings_report else ()
        note = (self.key_image,) if self.key_image else ()
        return (*self.crops, *self.overviews, *findings, *self.overlays, *note, self.triage_report)

    @property
    def document_references(self) -> tuple[InstanceReference, ...]:
        """The SR documents, as the predecessors of the next revision."""
        return tuple(InstanceReference.to(item) for item in self.objects if item.Modality == "SR")


def build_results(  # noqa: PLR0913 - one study, one run, and what the site wants of it
    explained: Analysis,
    *,
    triage: Triage,
    policy: TriagePolicy,
    sources: Mapping[str, Dataset],
    pixels: Callable[[ImageReference], npt.NDArray[np.uint8]],
    revision: Revision,
    unscored: int = 0,
    write_overlay: bool = False,
    write_key_image: bool = False,
) -> Results:
    """Triage report, findings and crops of a study; the same input gives the same bytes.

    Args:
        explained: what was found on all its images, with its explanation.
        triage: what the rule made of it.
        policy: the rule.
        sources: the attributes of each image that was scored by SOP Instance UID; pixel data are not needed.
        pixels: gives an image as uint8, shape (rows, columns), at full resolution, windowed, MONOCHROME2; called once
            for each image that gets a crop, and for no other.
        revision: which run this is.
        unscored: how many further images of the study could not be scored.
        write_overlay: also a presentation state for each image that has a box and whose display can be repeated.
        write_key_image: also a key image note, where a finding is put into words.

    Raises:
        PermanentError: a source cannot carry results, or it is not the image of the Analysis.
        ValueError: pixels of another size, a triage by another policy, or an algorithm that is not fully identified.
    """
    if triage.policy_digest != policy.digest:
        raise ValueError(f"the triage is by policy {triage.policy_digest}, not by {policy.digest}")
    scorer, explainer = explained.scorer, explained.explainer
    algorithms = (scorer,) if explainer is None else (scorer, explainer)
    _require_identified(algorithms)
    headers = {image.sop_instance_uid: _header(image, sources) for image in explained.images}
    leading = headers[explained.image.sop_instance_uid]
    made_of = (
        scorer.sha256,
        *(() if explainer is None else (explainer.name, explainer.version, explainer.sha256)),
        explained.prompt_version,
        hashlib.sha256(explained.explanation.encode()).hexdigest(),
        *([account_digest(explained.account)] if explained.account else ()),
        *([comparison_digest(explained.prior)] if explained.prior else ()),
        *([steps_digest(explained.steps)] if explained.steps else ()),
        policy.digest,
        unscored,
    )
    identities = _Identities(
        images=explained.images,
        patient_id=leading.patient_id,
        revision=revision,
        algorithms=algorithms,
        made_of=made_of,
    )
    triage_identity = identities.of(_TRIAGE)
    located = located_findings(explained, triage)
    tracking_uids = {found: identities.uid("tracking", position) for position, found in enumerate(located, start=1)}

    crops, overviews = choose_crops(located)
    greys = {image: _greys(pixels, image) for image in dict.fromkeys(crop.image for crop in (*crops, *overviews))}
    pictures = tuple(
        crop_image(
            crop,
            pixels=greys[crop.image],
            source=headers[crop.image.sop_instance_uid],
            identity=identities.of(_CROP, position),
            triage_report=triage_identity.reference,
        )
        for position, crop in enumerate((*crops, *overviews), start=1)
    )
    findings_report = None
    if located:
        findings_report = new_document(
            leading,
            identities.of(_FINDINGS),
            content=findings_content(located, scorer, tracking_uids),
            images=explained.images,
            predecessors=tuple(old for old in revision.predecessor if old.sop_class_uid == Comprehensive3DSRStorage),
        )
    overlays: dict[str, Dataset] = {}
    for image in dict.fromkeys(found.image for found in located) if write_overlay else ():
        state = overlay(
            [found for found in located if found.image == image],
            source=headers[image.sop_instance_uid],
            identity=identities.of(_OVERLAY, len(overlays) + 1),
            tracking_uids=tracking_uids,
        )
        if state is not None:
            overlays[image.sop_instance_uid] = state
    note = None
    if write_key_image and triage.named:
        note = key_image(
            explained,
            triage,
            source=leading,
            identity=identities.of(_KEY_IMAGE),
            overlays={uid: InstanceReference.to(state) for uid, state in overlays.items()},
        )
    content = triage_content(
        explained,
        triage=triage,
        policy=policy,
        sources=headers,
        revision=revision,
        unscored=unscored,
        evidence=where_to_look(
            located, triage, boxes=identities.series_number(_FINDINGS), crops=identities.series_number(_CROP)
        ),
    )
    return Results(
        triage_report=new_document(
            leading,
            triage_identity,
            content=content,
            images=explained.images,
            predecessors=_documents(revision),
            other_evidence=prior_evidence(explained.prior),
        ),
        findings_report=findings_report,
        crops=pictures[: len(crops)],
        overviews=pictures[len(crops) :],
        overlays=tuple(overlays.values()),
        key_image=note,
    )


def build_failure_report(  # noqa: PLR0913 - what is known of a failure
    *,
    source: Dataset,
    code: str,
    message: str,
    revision: Revision,
    card: ScorerCard,
    scorer: Algorithm,
) -> Results:
    """A triage report that says that a study was not assessed, and why.

    Args:
        source: the attributes of the image that could not be scored, or is out of scope.
        code: the failure's stable code.
        message: the failure in one line, for people.
        revision: which run this is.
        card: what the scorer would have looked for.
        scorer: what was to score it.

    Raises:
        PermanentError: the source cannot carry results.
        ValueError: an empty code, or an algorithm that is not fully identified.
    """
    if not code:
        raise ValueError("a failure needs a code")
    header = Source(source)
    image = header.image_reference()
    _require_identified((scorer,))
    identities = _Identities(
        images=(image,),
        patient_id=header.patient_id,
        revision=revision,
        algorithms=(scorer,),
        made_of=("failure", code, scorer.sha256),
    )
    content = failure_content(header, failure_code=code, message=message, scorer=scorer, card=card, revision=revision)
    report = new_document(
        header, identities.of(_TRIAGE), content=content, images=(image,), predecessors=_documents(revision)
    )
    return Results(triage_report=report)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of object, which has a series of its own in each revision."""

    name: str
    sop_class_uid: str
    modality: str
    series: int
    description: str


_CROP: Final = _Kind("crop", SecondaryCaptureImageStorage, "OT", 1, "AI evidence crops, not a diagnosis")
_FINDINGS: Final = _Kind("findings", Comprehensive3DSRStorage, "SR", 2, "AI findings, not a diagnosis")
_TRIAGE: Final = _Kind("triage", EnhancedSRStorage, "SR", 3, "AI triage report, not a diagnosis")
_OVERLAY: Final = _Kind(
    "overlay", GrayscaleSoftcopyPresentationStateStorage, "PR", 4, "AI findings overlay, not a diagnosis"
)
_KEY_IMAGE: Final = _Kind("key image", KeyObjectSelectionDocumentStorage, "KO", 5, "AI key image, not a diagnosis")
_A_REVISION: Final = 10  # series numbers


@dataclass(frozen=True, kw_only=True, slots=True)
class _Identities:
    """Gives each object of a revision its identity.

    Attributes:
        patient_id: a film may lie in the PACS twice, under two patients and the same UIDs.
    """

    images: tuple[ImageReference, ...]
    patient_id: str | bytes
    revision: Revision
    algorithms: tuple[Algorithm, ...]
    made_of: tuple[str | int, ...]

    def of(self, kind: _Kind, position: int = 1) -> Identity:
        return Identity(
            reference=InstanceReference(
                sop_class_uid=kind.sop_class_uid,
                sop_instance_uid=self.uid(kind.name, position),
                series_instance_uid=self.uid(f"{kind.name} series"),
                study_instance_uid=self.images[0].study_instance_uid,
            ),
            modality=kind.modality,
            series_number=self.series_number(kind),
            series_description=kind.description,
            instance_number=position,
            content_at=self.revision.reported_at,
            algorithms=self.algorithms,
        )

    def series_number(self, kind: _Kind) -> int:
        return OWN_SERIES_FROM + _A_REVISION * self.revision.number + kind.series

    def uid(self, kind: str, position: int = 1) -> str:
        images = sorted(image.sop_instance_uid for image in self.images)
        patient = self.patient_id if isinstance(self.patient_id, str) else self.patient_id.hex()
        return derive_uid(
            self.images[0].study_instance_uid, patient, self.revision.number, kind, position, *images, *self.made_of
        )


def revision_of_series(series_number: int) -> int:
    """The revision whose objects have a Series Number (0020,0011), in reports of every format."""
    return (series_number - OWN_SERIES_FROM) // _A_REVISION


def _documents(revision: Revision) -> tuple[InstanceReference, ...]:
    """The SR documents before this revision; overlays and key image notes cannot be predecessors (PS3.3 C.17.2)."""
    return tuple(
        old for old in revision.predecessor if old.sop_class_uid in {EnhancedSRStorage, Comprehensive3DSRStorage}
    )


def _header(scored: ImageReference, sources: Mapping[str, Dataset]) -> Source:
    dataset = sources.get(scored.sop_instance_uid)
    if dataset is None:
        raise PermanentError(
            "wrong_source", f"the header of image {scored.sop_instance_uid} is missing; score the study again"
        )
    header = Source(dataset)
    found = header.image_reference()
    if (found.study_instance_uid, found.sop_instance_uid) != (scored.study_instance_uid, scored.sop_instance_uid):
        raise PermanentError(
            "wrong_source",
            f"the analysis is of image {scored.sop_instance_uid}, not of {found.sop_instance_uid}; score it again",
        )
    return header


def _greys(pixels: Callable[[ImageReference], npt.NDArray[np.uint8]], image: ImageReference) -> npt.NDArray[np.uint8]:
    greys = pixels(image)
    if greys.shape != (image.rows, image.columns) or greys.dtype != np.uint8:
        raise ValueError(f"pixels are {greys.dtype} {greys.shape}, not uint8 {(image.rows, image.columns)}")
    return greys


def _require_identified(algorithms: tuple[Algorithm, ...]) -> None:
    for position, algorithm in enumerate(algorithms):
        digest = algorithm.sha256 or position > 0  # an explainer may have no weights of its own
        if not (algorithm.name and algorithm.version and algorithm.device_uid and digest):
            raise ValueError(f"an algorithm needs a name, version and device UID, a scorer a digest; got {algorithm}")
