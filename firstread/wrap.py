"""From files on a disk to DICOM datasets: what a folder holds, and pictures wrapped as DX images."""

from __future__ import annotations

import hashlib
import os
import unicodedata
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from worklist.errors import InvalidInput

MAX_PICTURE_BYTES = 200_000_000
MAX_PICTURE_PIXELS = 64_000_000  # twice the largest detector; decoding costs a few bytes of memory for each

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_EMPTY = (  # type 2: stated, though nothing is known
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
    *("StudyID", "ReferringPhysicianName", "Manufacturer", "DetectorType", "PositionerType"),
)
_FILE_META_GROUP = 2
_SYNTAX_OF: dict[tuple[bool | None, bool | None], UID] = {  # by implicit VR, little endian
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
_NOT_STUDY_FILES = (
    *(".bz2", ".cfg", ".csv", ".gif", ".gz", ".htm", ".html", ".ini", ".js", ".json", ".log", ".md", ".pdf", ".py"),
    *(".rst", ".sh", ".tar", ".toml", ".tsv", ".txt", ".xml", ".xz", ".yaml", ".yml", ".zip"),
)


def open_study_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that may hold images: each file named, and what folders hold, in the order of their names.

    A file named by the caller is always taken. Below a folder, hidden files and folders, DICOMDIR, and files whose
    names say that they are something else (.md, .csv ...) are passed over.

    Raises:
        InvalidInput: no_such_file, a path does not exist.
    """
    for path in paths:
        if not path.exists():
            raise InvalidInput("no_such_file", f"{path} does not exist: check the path")
        if not path.is_dir():
            yield path
            continue
        for folder, subfolders, names in os.walk(path):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted(names):
                hidden = name.startswith(".") or name.upper() == "DICOMDIR"
                if not hidden and not name.lower().endswith(_NOT_STUDY_FILES):
                    yield Path(folder, name)


def load_any(path: Path, *, header_only: bool = False) -> Dataset:
    """One DICOM, PNG or JPEG file as a dataset with file meta information, told apart by content, not by name.

    A DICOM file without the Part 10 preamble or file meta information (PS3.10 section 7.1) is read too, and gets a
    file meta of the encoding in which it was found. UIDs in the file meta that contradict the dataset give way to it.

    Args:
        path: the file.
        header_only: stop before the pixels of a DICOM file.

    Raises:
        InvalidInput: not_an_image, the file is none of the three; unreadable_dicom, it is broken DICOM;
            unreadable_file, the disk does not give it; unreadable_picture or picture_too_large, as wrap_picture.
    """
    if is_picture(path):
        return wrap_picture(path)
    with _reading_dicom(path) as file:
        dataset = dcmread(file, force=True, stop_before_pixels=header_only)
        missing = [word for word in ("SOPClassUID", "SOPInstanceUID") if not dataset.get(word)]
    if missing:
        raise InvalidInput("unreadable_dicom", f"{path} is DICOM without {' and '.join(missing)}: export it again")
    complete_file_meta(dataset)
    return dataset


def split_dicom(path: Path) -> tuple[Dataset, int]:
    """The file meta information of a Part 10 file, and the offset of the dataset behind it.

    Where the preamble is missing the file is not Part 10 (PS3.10 section 7.1), and the file meta comes back empty.

    Raises:
        InvalidInput: as load_any.
    """
    with _reading_dicom(path) as file:
        file.seek(128)
        is_part_10 = file.read(4) == b"DICM"
        file.seek(132 if is_part_10 else 0)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_is_dataset)
        return meta if is_part_10 else Dataset(), file.tell()


def _is_dataset(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != _FILE_META_GROUP


@contextmanager
def _reading_dicom(path: Path) -> Iterator[BinaryIO]:
    """An open file that looks like DICOM; what goes wrong inside is told as InvalidInput."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
            file.seek(0)
            _require_dicom(path, head)
            yield file
    except InvalidInput:
        raise
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # pydicom lets almost any exception through where bytes are broken
        raise InvalidInput("unreadable_dicom", f"{path} is broken DICOM: {_one_line(error)}") from error


def _require_dicom(path: Path, head: bytes) -> None:
    # without a preamble a dataset starts with its file meta or with group 0008, in either byte order
    if head[128:] != b"DICM" and head[:2] not in {b"\x02\x00", b"\x08\x00", b"\x00\x08"}:
        raise _not_an_image(path)


def is_picture(path: Path) -> bool:
    """Whether a file's content is PNG or JPEG.

    Raises:
        InvalidInput: unreadable_file, the disk does not give it.
    """
    try:
        with path.open("rb") as file:
            return file.read(8).startswith((_PNG, _JPEG))
    except OSError as error:
        raise _unreadable(path, error) from error


def wrap_picture(path: Path) -> Dataset:
    """A PNG or JPEG chest film as a DX image (PS3.3 A.26), with a study and a patient of its own.

    Color becomes luminance, transparency black, and EXIF orientation is applied. Grey values keep their 8 or 16 bits.
    Patient ID and Name come from the file's name; all UIDs are derived from the content and the Patient ID, so that
    the same file always makes the same object. Study Date is empty, since a picture does not tell it. Imager Pixel
    Spacing is left out, though the IOD demands it: a made-up one would let viewers measure in false millimeters.

    Raises:
        InvalidInput: not_an_image, it is neither PNG nor JPEG; unreadable_picture, it is broken; picture_too_large,
            it is above MAX_PICTURE_BYTES or MAX_PICTURE_PIXELS, told before it is decoded; unreadable_file.
    """
    if not is_picture(path):
        raise _not_an_image(path)
    if path.stat().st_size > MAX_PICTURE_BYTES:
        raise _too_large(path, f"{MAX_PICTURE_BYTES // 1_000_000} MB")
    content = path.read_bytes()
    pixels, source, samples = _decode(path, content)

    digest = hashlib.sha256(content).hexdigest()
    name = _harmless(path.stem)
    patient_id = f"{name[:51]}-{digest[:12]}"
    dataset = chest_dx(pixels, bits_stored=8 * pixels.itemsize)
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.DerivationDescription = f"Wrapped by Firstread from a {source}; no acquisition data"
    dataset.BurnedInAnnotation = "YES"  # nobody has looked, and NO would vouch for it
    if pixels.itemsize > 1:  # a 16-bit picture may hold 10 or 12 bits, and would look black in the full window
        low, high = int(pixels.min()), int(pixels.max())
        dataset.WindowCenter, dataset.WindowWidth = (low + high) // 2, high - low + 1
    dataset.PatientID, dataset.PatientName = patient_id, name
    for level in ("Study", "Series", "SOP"):
        keyword = f"{level}InstanceUID"
        setattr(dataset, keyword, derived_uid(digest, patient_id, keyword))
    dataset.StudyDescription = "Chest film from a picture file"
    if content.startswith(_JPEG):
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
        dataset.LossyImageCompressionRatio = f"{max(1.0, samples / len(content)):.2f}"
    complete_file_meta(dataset)
    return dataset


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


def derived_uid(*sources: str) -> UID:
    """The UID (2.25., PS3.5 B.2) that always belongs to these words."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(sources)).int}")


def _decode(path: Path, content: bytes) -> tuple[npt.NDArray[np.uint8] | npt.NDArray[np.uint16], str, int]:
    """Grey values of a picture, what it was, and how many samples it held in all its bands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower
            with Image.open(BytesIO(content), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MAX_PICTURE_PIXELS:
                    raise _too_large(path, f"{MAX_PICTURE_PIXELS // 1_000_000} million pixels")
                source = f"{image.format} picture of mode {image.mode}"
                samples = image.width * image.height * len(image.getbands())
                return _grey(ImageOps.exif_transpose(image)), source, samples
    except Image.DecompressionBombError as error:
        raise _too_large(path, f"{MAX_PICTURE_PIXELS // 1_000_000} million pixels") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InvalidInput("unreadable_picture", f"{path} is a broken picture: {_one_line(error)}") from error


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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _unreadable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput("unreadable_file", f"{path} cannot be read: {error.strerror or error}")


def _not_an_image(path: Path) -> InvalidInput:
    return InvalidInput("not_an_image", f"{path} is neither DICOM, PNG nor JPEG: give a chest film in one of these")


def _too_large(path: Path, limit: str) -> InvalidInput:
    return InvalidInput("picture_too_large", f"{path} is larger than {limit}: save it smaller")
