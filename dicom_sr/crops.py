"""Evidence crops: at most 3 Secondary Captures of findings put into words (PS3.3 section A.8.1), and overviews.

A crop is cut from the full-resolution image with some context around the box, which is drawn in one colour that all
readers can tell from grey; an overview is a whole image with all its boxes, small. Below each a strip says what it is.
The strip holds no patient data.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.valuerep import DS

from dicom_sr import codes
from dicom_sr.attributes import Identity, choose_character_set, code_item, new_object
from dicom_sr.findings_report import LocatedFinding
from dicom_sr.revision import InstanceReference
from dicom_sr.source import Source
from worklist.finding import ImageReference, Region

_MOST_CROPS: Final = 3
_CONTEXT: Final = 0.35  # of the box's longer side, on each side of the box
_LONGEST_PX: Final = 768
_SHORTEST_PX: Final = 384  # narrower and the caption would not fit
_REDUCED: Final = 1.5  # times a crop's size: down to this by whole pixels, and only then resized, in half the time
_ORANGE: Final = (230, 159, 0)  # Okabe and Ito 2008: distinct for every kind of colour vision
_BLACK: Final = (0, 0, 0)
_WHITE: Final = (255, 255, 255)
_LARGE_PX: Final = 20
_SMALL_PX: Final = 15
_TAG_PX: Final = 18  # of a side: holds a box's number
_NOTICE: Final = "AI, not a diagnosis"


@dataclass(frozen=True, kw_only=True, slots=True)
class Crop:
    """A part of an image to be shown: what it covers, the boxes on it, and a line for each of them."""

    image: ImageReference
    area: Region
    boxes: tuple[Region, ...]
    captions: tuple[str, ...]


def choose_crops(located: Sequence[LocatedFinding]) -> tuple[tuple[Crop, ...], tuple[Crop, ...]]:
    """Crops about the first three boxes, and for each image with a box an overview of all its boxes."""
    crops = tuple(
        Crop(image=found.image, area=_area(found.region, found.image), boxes=(found.region,), captions=(found.words,))
        for found in located[:_MOST_CROPS]
    )
    images = dict.fromkeys(found.image for found in located)
    return crops, tuple(_overview(image, [found for found in located if found.image == image]) for image in images)


def _overview(image: ImageReference, located: Sequence[LocatedFinding]) -> Crop:
    names = tuple(found.words for found in located)
    return Crop(
        image=image,
        area=Region(x=0, y=0, width=image.columns, height=image.rows),
        boxes=tuple(found.region for found in located),
        captions=tuple(f"{number} {name}" for number, name in enumerate(names, start=1)) if names[1:] else names,
    )


def crop_image(
    crop: Crop,
    *,
    pixels: npt.NDArray[np.uint8],
    source: Source,
    identity: Identity,
    triage_report: InstanceReference,
) -> Dataset:
    """A crop as a Secondary Capture Image.

    Args:
        crop: what to show.
        pixels: uint8, shape (rows, columns), MONOCHROME2, full resolution.
        source: the image's attributes.
        identity: the new object's UIDs and series.
        triage_report: the report that speaks of it.
    """
    picture, scale = _draw(crop, pixels)
    new = new_object(source, identity)
    new.ImageType = ["DERIVED", "SECONDARY"]
    new.ConversionType = "WSD"
    new.DateOfSecondaryCapture, new.TimeOfSecondaryCapture = new.ContentDate, new.ContentTime
    new.BurnedInAnnotation = "YES" if source.valid_text("BurnedInAnnotation") == "YES" else "NO"
    new.PatientOrientation = source.valid_text("PatientOrientation") or None
    new.BodyPartExamined = source.valid_text("BodyPartExamined") or "CHEST"  # only chest films are judged
    area = crop.area
    drawn = "boxes" if crop.boxes[1:] else "a box"
    new.DerivationDescription = (
        f"Columns {area.x} to {area.x + area.width - 1} and rows {area.y} to {area.y + area.height - 1} of the source "
        f"image as displayed, at {scale:.3g} of its size, with {drawn} and a caption drawn by AI"
    )
    reference = source.image_reference()
    origin = _reference(reference.sop_class_uid, reference.sop_instance_uid, codes.SOURCE_IMAGE_FOR_PROCESSING)
    new.SourceImageSequence = [origin]
    new.ReferencedInstanceSequence = [
        _reference(triage_report.sop_class_uid, triage_report.sop_instance_uid, codes.SOURCE_REPORT)
    ]
    if requests := source.copied_items("RequestAttributesSequence"):
        new.RequestAttributesSequence = requests
    _carry_geometry(source, new, scale)
    _carry_lossiness(source, new)

    new.SamplesPerPixel = 3
    new.PhotometricInterpretation = "RGB"
    new.PlanarConfiguration = 0
    new.Rows, new.Columns = picture.height, picture.width
    new.BitsAllocated = new.BitsStored = 8
    new.HighBit = 7
    new.PixelRepresentation = 0
    data = picture.tobytes()
    new.PixelData = data if len(data) % 2 == 0 else data + b"\0"
    choose_character_set(source, new)
    return new


def _area(box: Region, image: ImageReference) -> Region:
    """The box with its context, not narrower than half its height nor flatter than half its width, within the film."""
    margin = max(round(_CONTEXT * max(box.width, box.height)), 1)
    width, height = box.width + 2 * margin, box.height + 2 * margin
    x, width = _span(box.x + box.width / 2, max(width, height // 2), image.columns)
    y, height = _span(box.y + box.height / 2, max(height, width // 2), image.rows)
    return Region(x=x, y=y, width=width, height=height)


def _span(center: float, length: int, limit: int) -> tuple[int, int]:
    """Start and length of a stretch of pixels about a center, cut at the border of the film."""
    start = max(round(center - length / 2), 0)
    return start, min(start + length, limit) - start


def _draw(crop: Crop, pixels: npt.NDArray[np.uint8]) -> tuple[Image.Image, float]:
    """The picture with its strip, RGB, and its scale: pixels of the picture for a pixel of the film."""
    area = crop.area
    is_enlarged = area.width < _SHORTEST_PX
    scale = min(_LONGEST_PX / max(area.width, area.height), _SHORTEST_PX / area.width if is_enlarged else 1.0)
    size = max(round(area.width * scale), 1), max(round(area.height * scale), 1)
    cut = Image.fromarray(pixels[area.y : area.y + area.height, area.x : area.x + area.width])
    filter_ = Image.Resampling.HAMMING if scale < 1 else Image.Resampling.BICUBIC
    cut = cut if scale == 1 else cut.resize(size, filter_, reducing_gap=_REDUCED if scale < 1 else None)

    line = _LARGE_PX + 6
    strip = line * len(crop.captions) + _SMALL_PX + 16
    picture = Image.new("RGB", (max(size[0], _SHORTEST_PX), size[1] + strip), _BLACK)
    picture.paste(cut, (0, 0))
    draw = ImageDraw.Draw(picture)
    corners: list[tuple[float, float]] = []
    for box in crop.boxes:
        left, top = (box.x - area.x) * scale, (box.y - area.y) * scale
        right, bottom = left + box.width * scale - 1, top + box.height * scale - 1
        draw.rectangle((left - 3, top - 3, right + 3, bottom + 3), outline=_BLACK)
        draw.rectangle((left - 2, top - 2, right + 2, bottom + 2), outline=_ORANGE, width=2)
        corners.append((max(left - 3, 0), max(top - 3 - _TAG_PX, 0)))
    if corners[1:]:
        _number(draw, corners)
    draw.rectangle((0, size[1], picture.width, picture.height), fill=_BLACK)
    for position, caption in enumerate(crop.captions):
        draw.text((10, size[1] + 6 + line * position), caption, font=_font(_LARGE_PX), fill=_WHITE)
    draw.text((10, picture.height - _SMALL_PX - 10), _NOTICE, font=_font(_SMALL_PX), fill=_ORANGE)
    return picture, scale


def _number(draw: ImageDraw.ImageDraw, corners: list[tuple[float, float]]) -> None:
    """Number the boxes at their corners from 1, one below the other where boxes share a corner."""
    taken: list[tuple[float, float]] = []
    for number, (x, wanted) in enumerate(corners, start=1):
        y = wanted
        while any(abs(x - left) < _TAG_PX and abs(y - top) < _TAG_PX for left, top in taken):
            y += _TAG_PX
        taken.append((x, y))
        draw.rectangle((x, y, x + _TAG_PX, y + _TAG_PX), fill=_BLACK)
        draw.text((x + _TAG_PX / 2, y + _TAG_PX / 2), str(number), font=_font(_SMALL_PX), fill=_ORANGE, anchor="mm")


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _reference(sop_class_uid: str, sop_instance_uid: str, purpose: Code) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    item.PurposeOfReferenceCodeSequence = [code_item(purpose)]
    return item


def _carry_geometry(source: Source, new: Dataset, scale: float) -> None:
    """Pixel Spacing (mm) as the source calibrates it, by the crop's scale, or else its aspect (PS3.3 section 10.7)."""
    spacing, aspect = source.pair("PixelSpacing"), source.pair("PixelAspectRatio")
    if spacing:
        new.PixelSpacing = [DS(value / scale, auto_format=True) for value in spacing]
        for keyword in ("PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription"):
            if text := source.valid_text(keyword):
                setattr(new, keyword, text)
    elif aspect and aspect[0] != aspect[1]:
        new.PixelAspectRatio = [round(value) for value in aspect]


def _carry_lossiness(source: Source, new: Dataset) -> None:
    """Lossy once, lossy for ever: flag, ratio and method of the source (PS3.3 section C.7.6.1.1.5)."""
    if source.valid_text("LossyImageCompression") == "01":
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            if text := source.valid_text(keyword):
                setattr(new, keyword, text)
