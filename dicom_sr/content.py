"""Content items of an SR tree (PS3.3 section C.17.3), as the short words that the templates are written in."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from decimal import ROUND_DOWN, Decimal
from typing import Final, TypeVar

import numpy as np
from highdicom.sr import (
    CodeContentItem,
    CodedConcept,
    CompositeContentItem,
    ContainerContentItem,
    ContentItem,
    ImageContentItem,
    NumContentItem,
    RelationshipTypeValues,
    ScoordContentItem,
    TextContentItem,
    UIDRefContentItem,
)
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.source import CONTROL
from worklist.finding import DISCLAIMER, Algorithm, ImageReference, Region
from worklist.scope import MANUFACTURER

CONTAINS = RelationshipTypeValues.CONTAINS
INFERRED_FROM = RelationshipTypeValues.INFERRED_FROM
SELECTED_FROM = RelationshipTypeValues.SELECTED_FROM
HAS_CONCEPT_MOD = RelationshipTypeValues.HAS_CONCEPT_MOD
HAS_OBS_CONTEXT = RelationshipTypeValues.HAS_OBS_CONTEXT

FULL_DISCLAIMER: Final = (
    f"Written by software, not by a radiologist. {DISCLAIMER} Preliminary: it only suggests an order of reading. "
    "A finding that is not named is not thereby excluded."
)

_Item = TypeVar("_Item", bound=ContentItem)


def text(name: Code, value: str, *children: ContentItem) -> list[ContentItem]:
    """A TEXT that its parent contains; none where there is nothing to say, since Text Value must not be empty."""
    value = clean(value)
    return [_with(TextContentItem(_concept(name), value, relationship_type=CONTAINS), children)] if value else []


def code(
    name: Code, value: Code, *children: ContentItem, relationship: RelationshipTypeValues = CONTAINS
) -> ContentItem:
    """A CODE below its parent."""
    return _with(CodeContentItem(_concept(name), _concept(value), relationship_type=relationship), children)


def number(
    name: Code, value: float, unit: Code, *children: ContentItem, relationship: RelationshipTypeValues = INFERRED_FROM
) -> ContentItem:
    """A NUM below its parent: rounded to 16 characters in Numeric Value, exact in Floating Point Value (0040,A161)."""
    whole = isinstance(value, int)
    exact = value if whole else float(value)
    item = NumContentItem(_concept(name), exact, _concept(unit), relationship_type=relationship)
    if whole:
        item.MeasuredValueSequence[0].NumericValue = str(value)  # highdicom writes 2048 as 2048.0
    return _with(item, children)


def section(name: Code, *items: Iterable[ContentItem]) -> list[ContentItem]:
    """A CONTAINER with what the parts hold; none where they hold nothing."""
    content = [item for part in items for item in part]
    if not content:
        return []
    return [_with(ContainerContentItem(_concept(name), relationship_type=CONTAINS), content)]


def image(reference: ImageReference, *, relationship: RelationshipTypeValues = INFERRED_FROM) -> ContentItem:
    """The source image, as that from which the parent was inferred."""
    return ImageContentItem(
        codes.SOURCE_OF_MEASUREMENT,
        referenced_sop_class_uid=reference.sop_class_uid,
        referenced_sop_instance_uid=reference.sop_instance_uid,
        relationship_type=relationship,
    )


def composite(name: Code, sop_class_uid: str, sop_instance_uid: str) -> ContentItem:
    """A document that is no image, as that from which the parent was inferred."""
    return CompositeContentItem(
        _concept(name),
        referenced_sop_class_uid=sop_class_uid,
        referenced_sop_instance_uid=sop_instance_uid,
        relationship_type=INFERRED_FROM,
    )


def box(region: Region, reference: ImageReference) -> ContentItem:
    """A box on the source image, as that from which the parent was inferred (TID 320)."""
    scoord = ScoordContentItem(
        codes.SOURCE_OF_MEASUREMENT,
        graphic_type="POLYLINE",
        graphic_data=outline(region),
        relationship_type=INFERRED_FROM,
    )
    return _with(scoord, [image(reference, relationship=SELECTED_FROM)])


def outline(region: Region) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    r"""The closed outline of a box, shape (5, 2), (column, row) pairs clockwise from the upper left.

    Coordinates run from 0\0 at the outer corner of the first pixel to Columns\Rows at the outer corner of the last
    (PS3.3 section C.18.6.1.1), so a box covers whole pixels and may touch the border.
    """
    left, top = region.x, region.y
    right, bottom = region.x + region.width, region.y + region.height
    corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
    return np.array(corners, dtype=np.float64)


def device_observer(device: Algorithm) -> list[ContentItem]:
    """Observation context (TID 1001, 1004): a device observed, and which (IHE AIR 6.5.3.1)."""
    items = [code(codes.OBSERVER_TYPE, codes.DEVICE, relationship=HAS_OBS_CONTEXT)]
    items.append(UIDRefContentItem(codes.OBSERVER_UID, device.device_uid, relationship_type=HAS_OBS_CONTEXT))
    for name, value in (
        (codes.OBSERVER_NAME, MANUFACTURER),
        (codes.OBSERVER_MANUFACTURER, MANUFACTURER),
        (codes.OBSERVER_MODEL, device.name),
    ):
        items.append(TextContentItem(name, value, relationship_type=HAS_OBS_CONTEXT))
    return items


def root(title: Code, template: str, *items: Iterable[ContentItem]) -> ContainerContentItem:
    """The root container of a document that follows a DCMR template."""
    container = ContainerContentItem(title, template_id=template)
    return _with(container, [item for part in items for item in part])


def percent(probability: float) -> float:
    """A probability in percent, cut (not rounded) to a tenth: what is below a threshold never shows as at it."""
    return float((Decimal(str(probability)) * 100).quantize(Decimal("0.1"), rounding=ROUND_DOWN))


def clean(value: str) -> str:
    """Text as a UT value keeps it: no control characters but line breaks and tabs, no spaces at the end (PS3.5 6.2)."""
    return CONTROL.sub(" ", value).rstrip(" ")


def _concept(code: Code) -> CodedConcept:
    # Not by the code itself: two that differ only in their meaning are equal to pydicom.
    return _built_concept(code.value, code.scheme_designator, code.meaning, code.scheme_version)


@functools.lru_cache(maxsize=1024)
def _built_concept(value: str, scheme: str, meaning: str, version: str | None) -> CodedConcept:
    """A code as its data set, built once: reports have hundreds of them, and nobody changes one."""
    return CodedConcept(value, scheme, meaning, version)


def _with(item: _Item, children: Iterable[ContentItem]) -> _Item:
    children = list(children)
    if children:
        item.ContentSequence = children  # type: ignore[assignment]  # highdicom makes a ContentSequence of it itself
    return item
