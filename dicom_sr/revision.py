"""Runs over a study, and references to what they left in the PACS."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset

from worklist.finding import ImageReference


@dataclass(frozen=True, kw_only=True, slots=True)
class InstanceReference:
    """A DICOM object, by what a Hierarchical SOP Instance Reference needs (PS3.3 table C.17-3)."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str

    @classmethod
    def to(cls, dataset: Dataset) -> InstanceReference:
        """The reference to an object."""
        return cls(
            sop_class_uid=str(dataset.SOPClassUID),
            sop_instance_uid=str(dataset.SOPInstanceUID),
            series_instance_uid=str(dataset.SeriesInstanceUID),
            study_instance_uid=str(dataset.StudyInstanceUID),
        )

    @classmethod
    def to_image(cls, image: ImageReference) -> InstanceReference:
        """The reference to an image that was scored."""
        return cls(
            sop_class_uid=image.sop_class_uid,
            sop_instance_uid=image.sop_instance_uid,
            series_instance_uid=image.series_instance_uid,
            study_instance_uid=image.study_instance_uid,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    """One run over one study.

    Attributes:
        number: 1, 2, ...
        predecessor: the documents of the revision before (Results.document_references); empty for the first.
        fetched_at: when the first image had been fetched; None where nothing was scored.
        scored_at: when the last score was recorded; None where nothing was.
        reported_at: when the results were built; it becomes Content Date and Time.
    """

    number: int
    predecessor: tuple[InstanceReference, ...] = ()
    fetched_at: datetime | None = None
    scored_at: datetime | None = None
    reported_at: datetime

    def __post_init__(self) -> None:
        """Refuse a number below 1 and times without a zone."""
        if self.number < 1:
            raise ValueError(f"revisions count from 1, got {self.number}")
        moments = (self.fetched_at, self.scored_at, self.reported_at)
        if None in (moment.utcoffset() for moment in moments if moment):
            raise ValueError("the times of a revision need a time zone")
