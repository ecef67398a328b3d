"""The boxes and their labels as a Grayscale Softcopy Presentation State (PS3.3 section A.33.1), for viewers without SR.

A presentation state replaces every grey-scale step of the image it is applied to, and what it leaves out is identity
(PS3.4 section N.2). So it repeats the image's own: rescale, first window, and inversion for MONOCHROME1. Where it
cannot, there is no overlay, because an image must not look different for having been scored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from highdicom.pr import GraphicAnnotation, GraphicLayer, GraphicObject, TextObject
from pydicom.dataset import Dataset

from dicom_sr.attributes import Identity, choose_character_set, new_object
from dicom_sr.content import outline
from dicom_sr.findings_report import LocatedFinding
from dicom_sr.source import Source
from worklist.finding import ImageReference, Region

_LABEL_HEIGHT: Final = 0.03  # of the film's rows
_LABEL_WIDTH: Final = 0.45  # of the film's columns
_NOTICE: Final = "AI findings, not a diagnosis"
_NOTICE_BOX: Final = (0.0, 0.96, 0.5, 1.0)  # of the displayed area: its lower left corner
_MONOCHROME: Final = {"MONOCHROME1", "MONOCHROME2"}
_FUNCTIONS: Final = {"LINEAR", "LINEAR_EXACT", "SIGMOID"}


def overlay(
    located: Sequence[LocatedFinding],
    *,
    source: Source,
    identity: Identity,
    tracking_uids: Mapping[LocatedFinding, str],
) -> Dataset | None:
    """The presentation state of one image.

    Args:
        located: the findings on the image with their boxes, at least one.
        source: the image's attributes.
        identity: the new object's UIDs and series.
        tracking_uids: the UID that the findings report gives to each box.

    Returns:
        None for a film whose display cannot be repeated: no monochrome one, one with a Modality LUT Sequence, or one
        with a VOI LUT Sequence and no window.
    """
    greys = _greys(source)
    if greys is None:
        return None
    image = located[0].image
    new = new_object(source, identity)
    new.PresentationCreationDate, new.PresentationCreationTime = new.ContentDate, new.ContentTime
    del new.ContentDate, new.ContentTime
    new.ContentLabel = "AI_FINDINGS"
    new.ContentDescription = _NOTICE
    new.ContentCreatorName = None  # no person drew it
    new.BodyPartExamined = source.valid_text("BodyPartExamined") or "CHEST"  # only chest films are judged
    film = _referenced(image)
    series = Dataset()
    series.SeriesInstanceUID = image.series_instance_uid
    series.ReferencedImageSequence = [_sop_reference(image)]
    new.ReferencedSeriesSequence = [series]
    layer = GraphicLayer("AI", order=1, description=_NOTICE)
    boxes = [
        GraphicObject(
            "POLYLINE", outline(found.region), "PIXEL", tracking_id=found.label, tracking_uid=tracking_uids[found]
        )
        for found in located
    ]
    labels = [
        TextObject(found.label, "PIXEL", bounding_box=_label_box(found.region, image), text_justification="LEFT")
        for found in located
    ]
    notice = TextObject(_NOTICE, "DISPLAY", bounding_box=_NOTICE_BOX, text_justification="LEFT")
    new.GraphicAnnotationSequence = [
        GraphicAnnotation([film], layer, graphic_objects=boxes, text_objects=[*labels, notice])
    ]
    new.GraphicLayerSequence = [layer]
    new.DisplayedAreaSelectionSequence = [_whole(image, source)]
    new.update(greys)
    choose_character_set(source, new)
    return new


def _greys(source: Source) -> Dataset | None:
    """The film's own way from stored values to greys (PS3.3 sections C.11.1, C.11.6, C.11.8); None where unknown."""
    photometric = source.text("PhotometricInterpretation")
    window = _window(source)
    if (
        photometric not in _MONOCHROME
        or source.items("ModalityLUTSequence")
        or (source.items("VOILUTSequence") and window is None)
    ):
        return None
    new = Dataset()
    slope, intercept = source.valid_text("RescaleSlope"), source.valid_text("RescaleIntercept")
    if slope or intercept:
        new.RescaleSlope, new.RescaleIntercept = slope or "1", intercept or "0"
        new.RescaleType = source.valid_text("RescaleType") or "US"  # unspecified
    if window is not None:
        new.SoftcopyVOILUTSequence = [window]
    inverse = photometric == "MONOCHROME1" or source.text("PresentationLUTShape") == "INVERSE"
    new.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    return new


def _window(source: Source) -> Dataset | None:
    """The film's first window as an item of the Softcopy VOI LUT Sequence (PS3.3 section C.11.8)."""
    center, width = (source.valid_text(keyword).split("\\")[0] for keyword in ("WindowCenter", "WindowWidth"))
    function = source.text("VOILUTFunction") or "LINEAR"
    least = 1.0 if function == "LINEAR" else 1e-9
    if not center or not width or function not in _FUNCTIONS or float(width) < least:
        return None
    item = Dataset()
    item.WindowCenter, item.WindowWidth = center, width
    if function != "LINEAR":
        item.VOILUTFunction = function
    return item


def _whole(image: ImageReference, source: Source) -> Dataset:
    """The Displayed Area (PS3.3 section C.10.4): all of the film, as large as the screen allows."""
    item = Dataset()
    item.DisplayedAreaTopLeftHandCorner = [1, 1]
    item.DisplayedAreaBottomRightHandCorner = [image.columns, image.rows]
    item.PresentationSizeMode = "SCALE TO FIT"
    if source.pair("PixelSpacing"):
        item.PresentationPixelSpacing = source.valid_text("PixelSpacing").split("\\")
    else:
        ratio = source.pair("PixelAspectRatio") or (1, 1)
        item.PresentationPixelAspectRatio = [round(value) for value in ratio]
    return item


def _label_box(region: Region, image: ImageReference) -> tuple[float, float, float, float]:
    """Where a label stands: above its box, or below its upper edge where the film ends; left, top, right, bottom."""
    height, width = image.rows * _LABEL_HEIGHT, image.columns * _LABEL_WIDTH
    left = min(float(region.x), image.columns - width)
    top = region.y - height if region.y >= height else float(region.y)
    return left, top, left + width, top + height


def _referenced(image: ImageReference) -> Dataset:
    """The film as highdicom wants to see what is referred to."""
    film = Dataset()
    film.SOPClassUID, film.SOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    film.SeriesInstanceUID = image.series_instance_uid
    film.Rows, film.Columns = image.rows, image.columns
    return film


def _sop_reference(image: ImageReference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.sop_class_uid, image.sop_instance_uid
    return item
