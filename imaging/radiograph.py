"""The radiograph that a model looks at, read out of a DICOM dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from imaging.decoding import PixelLayout, decode
from imaging.elements import quiet, read_value
from imaging.geometry import patient_side, pixel_aspect
from imaging.windowing import render
from worklist.errors import UnusableImage
from worklist.finding import (
    CONTRADICTORY_AGE,
    MIRRORED_FILM,
    ONE_OF_SEVERAL_FRAMES,
    TURNED_FILM,
    ImageReference,
    QualityNote,
    Side,
)
from worklist.scope import AGE_KEYWORDS, contradictory_ages, is_secondary_capture, states_age

_LOW_RESOLUTION_PX = 512
_LOW_CONTRAST = 0.25  # between the 5th and 95th percentile; the lowest of 500 films of ChestX-ray14 is 0.33
_CUT_OFF_SHARE = 0.5  # of the pixels; the highest of the same films is 0.45


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Radiograph:
    """One radiograph, ready to be judged.

    Attributes:
        image: which DICOM image it is, with its size in source pixels.
        pixels: float32, shape (rows, columns), 0..1, MONOCHROME2 sense (0 is black, air), full resolution,
            windowed as the radiologist would see it.
        quality: what the pixel preparation noticed.
        pixel_aspect: height of a pixel over its width.
        states_age: whether the header says how old the patient is.
    """

    image: ImageReference
    pixels: npt.NDArray[np.float32]
    quality: tuple[QualityNote, ...] = ()
    pixel_aspect: float = 1.0
    states_age: bool = False


def read_radiograph(dataset: Dataset) -> Radiograph:
    """Decode a radiograph and show it as a viewer would: PS3.3 C.7.6.3, C.11.1, C.11.2, PS3.5 section 8.

    Of a multi-frame image the first frame is taken, of a color image the luminance, of several windows the first.

    Raises:
        UnusableImage: missing_identifier, no_pixel_data, pixel_data_truncated, pixel_data_damaged,
            unsupported_transfer_syntax, unsupported_photometric_interpretation, image_too_small, image_too_large,
            invalid_pixel_attributes, invalid_rescale, invalid_modality_lut, invalid_palette or blank_image.
    """
    with quiet():
        layout = PixelLayout.of(dataset)
        image = _reference(dataset, layout)
        stored = decode(dataset, layout)
        several = f"The image has {stored.frames} frames, and only the first was looked at."
        try:
            pixels, notes = render(dataset, layout, stored)
        except UnusableImage as error:
            raise UnusableImage(
                error.code, f"{error.message} {several}" if stored.frames > 1 else error.message
            ) from error
        if stored.frames > 1:
            notes = (QualityNote(code=ONE_OF_SEVERAL_FRAMES, message=several), *notes)
        return Radiograph(
            image=image,
            pixels=pixels,
            quality=(*notes, *_judge(dataset, pixels)),
            pixel_aspect=pixel_aspect(dataset),
            states_age=states_age(_texts(dataset, AGE_KEYWORDS)),
        )


def _reference(dataset: Dataset, layout: PixelLayout) -> ImageReference:
    keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
    study, series, sop_class, sop_instance = (str(read_value(dataset, keyword) or "").strip() for keyword in keywords)
    if not (study and series and sop_class and sop_instance):
        raise UnusableImage(
            "missing_identifier", f"The image lacks one of {', '.join(keywords)}: no result could name it."
        )
    return ImageReference(
        study_instance_uid=study,
        series_instance_uid=series,
        sop_class_uid=sop_class,
        sop_instance_uid=sop_instance,
        rows=layout.rows,
        columns=layout.columns,
    )


def _judge(dataset: Dataset, pixels: npt.NDArray[np.float32]) -> Iterator[QualityNote]:
    """What a reader should know about this film before trusting a score."""
    rows, columns = pixels.shape
    if min(rows, columns) < _LOW_RESOLUTION_PX:
        yield QualityNote(code="low_resolution", message=f"The film has only {columns} x {rows} pixels.")
    sample = pixels[:: max(1, rows // 256), :: max(1, columns // 256)]
    if np.ptp(np.percentile(sample, (5, 95))) < _LOW_CONTRAST:
        yield QualityNote(code="low_contrast", message="The film shows hardly any contrast.")
    if np.mean((sample <= 0) | (sample >= 1)) > _CUT_OFF_SHARE:
        yield QualityNote(code="cut_off_greys", message="More than half of the film is plain black or plain white.")
    if told := contradictory_ages(_texts(dataset, AGE_KEYWORDS)):
        yield QualityNote(code=CONTRADICTORY_AGE, message=told)
    captured = _texts(dataset, ("SOPClassUID", "BurnedInAnnotation"))
    if is_secondary_capture(captured["SOPClassUID"]) and captured["BurnedInAnnotation"].strip().upper() == "YES":
        yield QualityNote(
            code="burned_in_annotation", message="The film is a copy with annotations burned in, which were scored too."
        )
    side = patient_side(read_value(dataset, "PatientOrientation"))
    if side is None:
        yield QualityNote(code=TURNED_FILM, message="The film is turned, so no sides are given.")
    elif side is Side.LEFT:
        yield QualityNote(code=MIRRORED_FILM, message="The film is mirrored: the patient's left is at its left edge.")


def _texts(dataset: Dataset, keywords: Sequence[str]) -> dict[str, str]:
    """Values as text; empty for what is absent or cannot be read, which no film is refused for."""
    texts = dict.fromkeys(keywords, "")
    for keyword in keywords:
        with suppress(UnusableImage):
            texts[keyword] = str(read_value(dataset, keyword) or "")
    return texts
