"""Bad inputs as files that a modality could really send by C-STORE.

Each is a chest DX image but for the one fault in its name. Two of them are folders, since the fault lies between two
files.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    MPEG2MPML,
    BasicTextSRStorage,
    CTImageStorage,
    JPEG2000Lossless,
    JPEGLSLossless,
    generate_uid,
)

from imaging.simulated.phantom import simulate_film
from imaging.wrapping import chest_dx, code, complete_file_meta

HUGE_SIDE = 12_000


def chest(seed: int = 1) -> Dataset:
    """A good DX chest film of 512 x 512, complete with file meta information; a new study with each call."""
    film = chest_dx(_pixels(seed), bits_stored=12)
    film.ImageType = ["ORIGINAL", "PRIMARY"]
    film.PatientName, film.PatientID = "SIMULATED-Bad^Film", f"BAD-{seed:04}"
    film.PatientBirthDate, film.PatientSex = "19600101", "O"
    film.StudyInstanceUID, film.SeriesInstanceUID, film.SOPInstanceUID = (generate_uid() for _ in range(3))
    film.StudyDate, film.StudyTime, film.AccessionNumber = "20260102", "030405", f"A{seed:04}"
    film.StudyDescription, film.ViewPosition = "Chest PA", "PA"
    film.ImagerPixelSpacing = [0.7, 0.7]
    complete_file_meta(film)
    return film


@cache
def _pixels(seed: int) -> npt.NDArray[np.uint16]:
    return simulate_film(seed, finding=None, rows=512, columns=512)


def _truncated_pixel_data(film: Dataset) -> None:
    film.PixelData = film.PixelData[: len(film.PixelData) // 2]


def _no_pixel_data(film: Dataset) -> None:
    del film.PixelData


def _missing_patient_id(film: Dataset) -> None:
    del film.PatientID


def _unsupported_transfer_syntax(film: Dataset) -> None:
    # Orthanc 1.10.1 takes in MPEG2, and has never heard of JPEG XL and HTJ2K
    film.PixelData = encapsulate([b"\x00\x00\x01\xb3 no film can be stored as this" * 9])
    film.file_meta.TransferSyntaxUID = MPEG2MPML


def _corrupt_jpeg_2000(film: Dataset) -> None:
    film.PixelData = encapsulate([b"\xff\x4f\xff\x51" + b"and then nothing of a codestream" * 9])
    film.file_meta.TransferSyntaxUID = JPEG2000Lossless


def _blank(film: Dataset) -> None:
    film.PixelData = b"\x00\x08" * (film.Rows * film.Columns)


def _one_pixel(film: Dataset) -> None:
    film.Rows = film.Columns = 1
    film.PixelData = b"\x00\x08"


def _huge(film: Dataset) -> None:
    small = np.frombuffer(film.PixelData, "<u2").reshape(film.Rows, film.Columns)[:500, :500]
    big = np.kron((small >> 4).astype(np.uint8), np.ones((HUGE_SIDE // 500, HUGE_SIDE // 500), np.uint8))
    film.BitsAllocated, film.BitsStored, film.HighBit = 8, 8, 7
    film.WindowCenter, film.WindowWidth = 128, 256
    film.Rows, film.Columns = big.shape
    film.PixelData = big.tobytes()
    film["PixelData"].VR = "OB"
    film.compress(JPEGLSLossless, generate_instance_uid=False)


def _sr(film: Dataset) -> None:
    for keyword in [element.keyword for element in film if element.tag.group in {0x0018, 0x0028, 0x7FE0}]:
        del film[keyword]
    film.SOPClassUID, film.Modality = BasicTextSRStorage, "SR"
    film.ValueType, film.ContinuityOfContent = "CONTAINER", "SEPARATE"
    film.ConceptNameCodeSequence = [code("18782-3", "LN", "X-Ray Report")]
    film.CompletionFlag, film.VerificationFlag = "COMPLETE", "UNVERIFIED"
    film.ContentDate, film.ContentTime = film.StudyDate, film.StudyTime
    finding = Dataset()
    finding.RelationshipType, finding.ValueType = "CONTAINS", "TEXT"
    finding.ConceptNameCodeSequence = [code("121071", "DCM", "Finding")]
    finding.TextValue = "Pneumothorax on the right"
    film.ContentSequence = [finding]
    complete_file_meta(film)


def _ct_slice(film: Dataset) -> None:
    film.SOPClassUID, film.Modality = CTImageStorage, "CT"
    film.ImagePositionPatient, film.ImageOrientationPatient = [-180, -180, 50], [1, 0, 0, 0, 1, 0]
    film.PixelSpacing, film.SliceThickness = [0.7, 0.7], 1
    film.FrameOfReferenceUID = generate_uid()
    film.RescaleIntercept, film.RescaleType = -1024, "HU"
    complete_file_meta(film)


def _rows_as_text(film: Dataset) -> None:
    rows = str(film.Rows)
    del film.Rows
    film.add_new(0x00280010, "LO", rows)


def _japanese_name(film: Dataset) -> None:
    film.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    film.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"


def _with(change: Callable[[Dataset], None], folder: Path) -> Path:
    film = chest()
    change(film)
    return _save(film, folder / f"{change.__name__.strip('_')}.dcm")


def _with_text(keyword: str, text: str, folder: Path) -> Path:
    """A film with a decimal string that pydicom would refuse to write, put in its place afterwards."""
    film = chest()
    setattr(film, keyword, "9.876543")
    path = _save(film, folder / f"{keyword}.dcm")
    content = path.read_bytes()
    path.write_bytes(content.replace(b"9.876543", text.ljust(8).encode(), 1))
    return path


def _two_studies_one_accession_number(folder: Path) -> Path:
    pair = folder / "two_studies"
    for number in (1, 2):
        film = chest(number)
        film.AccessionNumber, film.PatientID = "A0815", "BAD-0815"
        _save(film, pair / f"{number}.dcm")
    return pair


def _one_sop_instance_uid_twice(folder: Path) -> Path:
    pair = folder / "one_uid_twice"
    first, second = chest(1), chest(1)
    second.PixelData = chest(2).PixelData
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(second, keyword, first[keyword].value)
    complete_file_meta(second)
    _save(first, pair / "1.dcm")
    _save(second, pair / "2.dcm")
    return pair


def _save(film: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path, enforce_file_format=True)
    return path


BAD_FILMS: dict[str, Callable[[Path], Path]] = {
    "truncated_pixel_data": partial(_with, _truncated_pixel_data),
    "no_pixel_data": partial(_with, _no_pixel_data),
    "missing_patient_id": partial(_with, _missing_patient_id),
    "unsupported_transfer_syntax": partial(_with, _unsupported_transfer_syntax),
    "corrupt_jpeg_2000": partial(_with, _corrupt_jpeg_2000),
    "blank": partial(_with, _blank),
    "one_pixel": partial(_with, _one_pixel),
    "huge": partial(_with, _huge),
    "nan_rescale_slope": partial(_with_text, "RescaleSlope", "NaN"),
    "window_center_text": partial(_with_text, "WindowCenter", "AUTO"),
    "rows_as_text": partial(_with, _rows_as_text),
    "sr": partial(_with, _sr),
    "ct_slice": partial(_with, _ct_slice),
    "japanese_name": partial(_with, _japanese_name),
    "two_studies_one_accession_number": _two_studies_one_accession_number,
    "one_sop_instance_uid_twice": _one_sop_instance_uid_twice,
}
"""Each writes its fault into a folder and returns the file, or a folder of two files."""
