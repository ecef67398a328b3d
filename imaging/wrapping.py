"""PNG and JPEG pictures as DX images, and what else makes a dataset whole."""

from __future__ import annotations

import hashlib
import os
import struct
import unicodedata
import warnings
from io import BytesIO
from pathlib import PurePath
from typing import BinaryIO, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from worklist.errors import InvalidInput
from worklist.media import HEAD_BYTES, ImageFormat, image_format
from worklist.uids import derived_uid

_WRAPPED: Final = "Wrapped by Firstread from a"
MAX_PICTURE_BYTES = 200_000_000
MAX_PICTURE_PIXELS = 64_000_000  # twice the largest detector; decoding costs a few bytes of memory for each
# What Pillow was seen to raise on damaged pictures, the last four on their EXIF.
_PILLOW_ERRORS = (OSError, SyntaxError, ValueError, AttributeError, LookupError, TypeError, struct.error)
_EMPTY = (  # type 2: stated, though nothing is known
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
    *("StudyID", "ReferringPhysicianName", "Manufacturer", "DetectorType", "PositionerType"),
)
_SYNTAX_OF: dict[tuple[bool | None, bool | None], UID] = {  # by implicit VR, little endian
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}


def not_an_image(name: str) -> InvalidInput:
    """The refusal of a file that is no image of any kind that is read."""
    return InvalidInput("not_an_image", f"{name} is neither DICOM, PNG nor JPEG: give a chest film in one of these")


def wrap_picture(file: BinaryIO, name: str) -> Dataset:
    """A PNG or JPEG chest film as a DX image (PS3.3 A.26), with a study and a patient of its own.

    Color becomes luminance, transparency black, and EXIF orientation is applied. Grey values keep their 8 or 16 bits.
    Patient ID and Name come from the file's name; all UIDs are derived from the content and the Patient ID, so that
    the same file always makes the same object. Study Date is empty, since a picture does not tell it. Imager Pixel
    Spacing is left out, though the IOD demands it: a made-up one would let viewers measure in false millimeters.

    Args:
        file: the picture, from its first byte on.
        name: what messages call it; the patient is called by its stem.

    Raises:
        InvalidInput: not_an_image, it is neither PNG nor JPEG; unreadable_picture, it is broken; picture_too_large,
            it is above MAX_PICTURE_BYTES or MAX_PICTURE_PIXELS, told before it is decoded.
    """
    is_too_large = file.seek(0, os.SEEK_END) > MAX_PICTURE_BYTES
    file.seek(0)
    found = image_format(file.read(HEAD_BYTES))
    if found not in {ImageFormat.PNG, ImageFormat.JPEG}:
        raise not_an_image(name)
    if is_too_large:
        raise too_large(name, f"{MAX_PICTURE_BYTES // 1_000_000} MB")
    file.seek(0)
    content = file.read()
    pixels, source, samples = _decode(content, name)

    digest = hashlib.sha256(content).hexdigest()
    patient_name = _harmless(PurePath(name).stem)
    patient_id = f"{patient_name[:51]}-{digest[:12]}"
    dataset = chest_dx(pixels, bits_stored=8 * pixels.itemsize)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.DerivationDescription = f"{_WRAPPED} {source}; no acquisition data"
    dataset.BurnedInAnnotation = "YES"  # nobody has looked, and NO would vouch for it
    if pixels.itemsize > 1:  # a 16-bit picture may hold 10 or 12 bits, and would look black in the full window
        low, high = int(pixels.min()), int(pixels.max())
        dataset.WindowCenter, dataset.WindowWidth = (low + high) // 2, high - low + 1
    dataset.PatientID, dataset.PatientName = patient_id, patient_name
    for level in ("Study", "Series", "SOP"):
        keyword = f"{level}InstanceUID"
        setattr(dataset, keyword, derived_uid(digest, patient_id, keyword))
    dataset.StudyDescription = "Chest film from a picture file"
    if found is ImageFormat.JPEG:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
        dataset.LossyImageCompressionRatio = f"{max(1.0, samples / len(content)):.2f}"
    complete_file_meta(dataset)
    return dataset


def is_wrapped(dataset: Dataset) -> bool:
    """Whether a dataset was a picture, so that its patient is the picture's file name and nobody's."""
    return str(dataset.get("DerivationDescription") or "").startswith(_WRAPPED)


def chest_dx(pixels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], *, bits_stored: int) -> Dataset:
    """A DX image of a chest (PS3.3 A.26) without patient, study, UIDs and file meta information.

    Args:
        pixels: shape (rows, columns), MONOCHROME2 sense, a patient facing the reader.
        bits_stored: bits of a grey value in use.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    for keyword in _EMPTY:
        setattr(dataset, keyword, None)
    dataset.Modality, dataset.PresentationIntentType = "DX", "FOR PRESENTATION"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.BodyPartExamined = "CHEST"
    dataset.AnatomicRegionSequence = [code("51185008", "SCT", "Chest")]
    dataset.ImageLaterality = "U"
    dataset.PatientOrientation = ["L", "F"]
    dataset.AcquisitionContextSequence = []

    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation, dataset.PresentationLUTShape = "MONOCHROME2", "IDENTITY"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored, dataset.HighBit = bits_stored, bits_stored - 1
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = 0, 1, "US"
    dataset.WindowCenter, dataset.WindowWidth = 2 ** (bits_stored - 1), 2**bits_stored
    dataset.BurnedInAnnotation = "NO"
    dataset.LossyImageCompression = "00"
    frame = pixels.tobytes()
    dataset.PixelData = frame + b"\0" * (len(frame) % 2)
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    return dataset


def _decode(content: bytes, name: str) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.uint16], str, int]:
    """Grey values of a picture, what it was, and how many samples it held in all its bands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, where our own limit is lower, and of damaged EXIF
            with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PICTURE_PIXELS:
                    raise too_large(name, f"{MAX_PICTURE_PIXELS // 1_000_000} million pixels")
                source = f"{image.format} picture of mode {image.mode}"
                samples = image.width * image.height * len(image.getbands())
                return _grey(ImageOps.exif_transpose(image)), source, samples
    except Image.DecompressionBombError as error:
        raise too_large(name, f"{MAX_PICTURE_PIXELS // 1_000_000} million pixels") from error
    except _PILLOW_ERRORS as error:
        raise InvalidInput("unreadable_picture", f"{name} is a broken picture: {one_line(error)}") from error


def _grey(image: Image.Image) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """The grey values of an image of any mode that PNG and JPEG have, 8 bits a value or 16 where it had them."""
    if image.mode.startswith("I"):
        deep: npt.NDArray[np.uint16] = np.clip(np.asarray(image), 0, 65535).astype(np.uint16)
        return deep
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
    grey: npt.NDArray[np.uint8] = np.asarray(image if image.mode == "L" else image.convert("RGB").convert("L"))
    return grey


def _harmless(stem: str) -> str:
    """A file name's stem that is safe as LO and PN (PS3.5 6.2): printable, no delimiter, at most 64 characters."""
    text = unicodedata.normalize("NFC", stem)
    printable = "".join(c if c.isprintable() and c not in "\\^=" else " " for c in text)
    return " ".join(printable.split())[:64].strip() or "picture"


def complete_file_meta(dataset: Dataset) -> None:
    """Give a dataset the file meta information that PS3.10 section 7.1 demands, with the dataset's own UIDs."""
    meta = dataset.file_meta if hasattr(dataset, "file_meta") else FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        found = (dataset.original_encoding[0], dataset.original_encoding[1])
        meta.TransferSyntaxUID = _SYNTAX_OF.get(found, ExplicitVRLittleEndian)
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta = meta


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A code sequence's item (PS3.3 section 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def one_line(error: Exception) -> str:
    """What a library says of a broken file, as a part of one line."""
    return " ".join(str(error).split()) or type(error).__name__


def too_large(name: str, limit: str) -> InvalidInput:
    """The refusal of a file above a limit."""
    return InvalidInput("picture_too_large", f"{name} is larger than {limit}: save it smaller")
