"""From an Analysis to the DICOM objects of one revision of a study's AI results."""

from __future__ import annotations

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
from dicom_sr.findings_report import findings_content, located_findings
from dicom_sr.key_image import key_image
from dicom_sr.overlay import overlay
from dicom_sr.revision import InstanceReference, Revision
from dicom_sr.source import Source
from dicom_sr.triage_report import failure_content, triage_content
from dicom_sr.uids import derive_uid
from worklist.errors import PermanentError
from worklist.finding import Algorithm, Analysis, FindingType, ImageReference
from worklist.urgency import Urgency

__all__ = ["InstanceReference", "Results", "Revision", "build_failure_report", "build_results"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Results:
    """The objects of one revision.

    Attributes:
        triage_report: always there.
        findings_report: where a finding has a box.
        crops: 1 to 3 evidence crops of a result, none of a failure.
        overview: the whole film with all boxes, last in the crops' series; None where the one crop shows it already.
        overlay: where it is wanted, and a finding has a box.
        key_image: where it is wanted, and a finding reaches its threshold.
    """

    triage_report: Dataset
    findings_report: Dataset | None = None
    crops: tuple[Dataset, ...] = ()
    overview: Dataset | None = None
    overlay: Dataset | None = None
    key_image: Dataset | None = None

    @property
    def objects(self) -> tuple[Dataset, ...]:
        """All objects in the order of storing: a stored triage report means a complete revision."""
        optional = (self.overview, self.findings_report, self.overlay, self.key_image)
        return (*self.crops, *(item for item in optional if item is not None), self.triage_report)

    @property
    def document_references(self) -> tuple[InstanceReference, ...]:
        """The SR documents, as the predecessors of the next revision."""
        return tuple(InstanceReference.to(item) for item in self.objects if item.Modality == "SR")


def build_results(  # noqa: PLR0913 - one film, one run, and what the site wants of it
    analysis: Analysis,
    *,
    urgency: Urgency,
    source: Dataset,
    pixels: npt.NDArray[np.uint8],
    revision: Revision,
    write_overlay: bool = False,
    write_key_image: bool = False,
) -> Results:
    """Triage report, findings and crops of an Analysis; the same input gives the same bytes.

    Args:
        analysis: what was found, with its explanation.
        urgency: the class that follows from it at this site.
        source: the attributes of the film that was judged; pixel data are not needed.
        pixels: uint8, shape (rows, columns): the film at full resolution, windowed, MONOCHROME2.
        revision: which run this is.
        write_overlay: also a presentation state, where there is a box and the film's display can be restated.
        write_key_image: also a key image note, where a finding reaches its threshold.

    Raises:
        PermanentError: the source cannot carry results, or it is not the image of the Analysis.
        ValueError: pixels of another size, or an algorithm that is not fully identified.
    """
    film = Source(source)
    image = analysis.image
    _require_same_image(film.image_reference(), image)
    if pixels.shape != (image.rows, image.columns) or pixels.dtype != np.uint8:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}, not uint8 {(image.rows, image.columns)}")
    scorer, explainer = analysis.scorer, analysis.explainer
    algorithms = (scorer,) if explainer is None else (scorer, explainer)
    _require_identified(algorithms)
    explained_by = () if explainer is None else (explainer.name, explainer.version, explainer.sha256)
    made_of = (scorer.sha256, *explained_by, analysis.prompt_version)
    identities = _Identities(image=image, revision=revision, algorithms=algorithms, made_of=made_of)

    triage_identity = identities.of(_TRIAGE)
    crops, overview = choose_crops(analysis)
    pictures = [
        crop_image(
            crop,
            pixels=pixels,
            source=film,
            identity=identities.of(_CROP, position),
            triage_report=triage_identity.reference,
        )
        for position, crop in enumerate((*crops, overview) if overview else crops, start=1)
    ]
    findings_report, presentation_state, note = None, None, None
    if located := located_findings(analysis):
        identity = identities.of(_FINDINGS)
        findings_report = new_document(
            film,
            identity,
            content=findings_content(analysis, lambda position: identities.uid("tracking", position)),
            predecessors=tuple(old for old in revision.predecessor if old.sop_class_uid == Comprehensive3DSRStorage),
        )
        if write_overlay:
            presentation_state = overlay(
                located,
                image=image,
                source=film,
                identity=identities.of(_OVERLAY),
                tracking_uid=lambda position: identities.uid("tracking", position),
            )
    if write_key_image and analysis.positive_findings:
        note = key_image(
            analysis,
            source=film,
            identity=identities.of(_KEY_IMAGE),
            presentation_state=None if presentation_state is None else InstanceReference.to(presentation_state),
        )
    triage_report = new_document(
        film,
        triage_identity,
        content=triage_content(analysis, urgency=urgency, revision=revision),
        predecessors=_documents(revision),
    )
    return Results(
        triage_report=triage_report,
        findings_report=findings_report,
        crops=tuple(pictures[: len(crops)]),
        overview=pictures[-1] if overview else None,
        overlay=presentation_state,
        key_image=note,
    )


def build_failure_report(  # noqa: PLR0913 - what is known of a failure
    *,
    source: Dataset,
    code: str,
    message: str,
    revision: Revision,
    scorer: Algorithm | None = None,
    looked_for: tuple[FindingType, ...] = (),
) -> Results:
    """A triage report that says that a study was not assessed, and why.

    Args:
        source: the attributes of the image that could not be judged, or is out of scope.
        code: the failure's stable code.
        message: the failure in one line, for people.
        revision: which run this is.
        scorer: what was to score it, if that is known.
        looked_for: the findings that it looks for.

    Raises:
        PermanentError: the source cannot carry results.
        ValueError: an empty code, or an algorithm that is not fully identified.
    """
    if not code:
        raise ValueError("a failure needs a code")
    film = Source(source)
    image = film.image_reference()
    algorithms = () if scorer is None else (scorer,)
    _require_identified(algorithms)
    made_of = ("failure", code, *(algorithm.sha256 for algorithm in algorithms))
    identities = _Identities(image=image, revision=revision, algorithms=algorithms, made_of=made_of)
    content = failure_content(
        image,
        failure_code=code,
        message=message,
        scorer=scorer,
        looked_for=looked_for,
        revision=revision,
    )
    identity = identities.of(_TRIAGE)
    return Results(triage_report=new_document(film, identity, content=content, predecessors=_documents(revision)))


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
_FIRST_SERIES_NUMBER: Final = 9000  # viewers open the lowest series first, which must be the film's


@dataclass(frozen=True, kw_only=True, slots=True)
class _Identities:
    """Gives each object of a revision its identity."""

    image: ImageReference
    revision: Revision
    algorithms: tuple[Algorithm, ...]
    made_of: tuple[str, ...]

    def of(self, kind: _Kind, position: int = 1) -> Identity:
        return Identity(
            reference=InstanceReference(
                sop_class_uid=kind.sop_class_uid,
                sop_instance_uid=self.uid(kind.name, position),
                series_instance_uid=self.uid(f"{kind.name} series"),
                study_instance_uid=self.image.study_instance_uid,
            ),
            modality=kind.modality,
            series_number=_FIRST_SERIES_NUMBER + 10 * self.revision.number + kind.series,
            series_description=kind.description,
            instance_number=position,
            content_at=self.revision.reported_at,
            algorithms=self.algorithms,
        )

    def uid(self, kind: str, position: int = 1) -> str:
        image = self.image
        return derive_uid(
            image.study_instance_uid, self.revision.number, kind, position, image.sop_instance_uid, *self.made_of
        )


def _documents(revision: Revision) -> tuple[InstanceReference, ...]:
    """The SR documents before this revision; overlays and key image notes cannot be predecessors (PS3.3 C.17.2)."""
    return tuple(
        old for old in revision.predecessor if old.sop_class_uid in {EnhancedSRStorage, Comprehensive3DSRStorage}
    )


def _require_same_image(found: ImageReference, judged: ImageReference) -> None:
    if (found.study_instance_uid, found.sop_instance_uid) != (judged.study_instance_uid, judged.sop_instance_uid):
        raise PermanentError(
            "wrong_source",
            f"the analysis is of image {judged.sop_instance_uid}, not of {found.sop_instance_uid}; score it again",
        )


def _require_identified(algorithms: tuple[Algorithm, ...]) -> None:
    for position, algorithm in enumerate(algorithms):
        digest = algorithm.sha256 or position > 0  # an explainer may have no weights of its own
        if not (algorithm.name and algorithm.version and algorithm.device_uid and digest):
            raise ValueError(f"an algorithm needs a name, version and device UID, a scorer a digest; got {algorithm}")
