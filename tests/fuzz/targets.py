"""What takes what others wrote, each with valid inputs to begin from and a way to make them odd.

An input may be refused by one of our own errors, which have a code and a line that says what is wrong. Whatever else
is raised, a warning included, is a fault.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image
from pydicom import Dataset

from dicom_sr.parse import parse
from firstread.compose_worker import build_predictor, build_scorer
from firstread.settings import Settings
from gateway.intake.arrivals import received_instance, received_report
from gateway.intake.orthanc import InstanceFacts
from imaging.files import read_image
from imaging.headers import read_header
from imaging.radiograph import read_radiograph
from tests.film_corpus import ENCODERS, NATIVE, dataset_of, encoded, lut, values_of
from tests.fuzz import mutate
from worker.answers import read_object
from worker.predict import Predictor
from worklist.errors import FirstreadError
from worklist.scope import ScopeRules, is_own_object
from worklist.triage import TriagePolicy

NAMED: Final = (FirstreadError,)
_REPORTS: Final = Path(__file__).parents[1] / "unit"
_ONE_IN: Final = 3  # rows and columns of the corpus's film that are kept: the smallest side is still read
_HEADER: Final[dict[str, Any]] = {
    "SpecificCharacterSet": "ISO_IR 192",
    "PatientName": "Müller^Jörg=山田^太郎",
    "PatientID": " 0815\\1 ",
    "PatientBirthDate": "19600229",
    "PatientSex": "O",
    "PatientAge": "066Y",
    "AccessionNumber": "A/1",
    "StudyDate": "20260102",
    "StudyTime": "030405.5",
    "TimezoneOffsetFromUTC": "+0530",
    "StudyDescription": "Tórax",
    "AcquisitionDateTime": "20260102030405.1+0100",
    "SeriesDescription": "Thorax a.p.",
    "ViewPosition": "AP",
    "ImagerPixelSpacing": [0.5, 0.7],
    "WindowCenter": [2047, 100],
    "WindowWidth": [4095, 50],
    "RequestingService": "ER",
    "ReasonForStudy": "Dyspnoe?",
    "NumberOfFrames": 1,
    "PixelPaddingValue": 0,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """One place.

    Attributes:
        name: of the place.
        make: an input, drawn from a generator.
        take: gives the input to the place; raises one of NAMED where it is refused.
    """

    name: str
    make: Callable[[random.Random], bytes]
    take: Callable[[bytes], object]

    def input(self, seed: int, number: int) -> bytes:
        """The input of this number, the same for the same seed."""
        return self.make(random.Random(f"{self.name} {seed} {number}"))  # noqa: S311 - it need not be secret


@cache
def films() -> tuple[bytes, ...]:
    """Small films in every encoding, with plain headers and with rich ones, and with each kind of look-up table."""
    found = [_film(encoding, bits) for encoding in (*NATIVE, *ENCODERS) for bits in (8, 12, 16)]
    table = dataset_of(_words(12), bits=12)
    table.VOILUTSequence = [lut(4096, 12, 4095)]
    modality = dataset_of(_words(12), bits=12)
    modality.ModalityLUTSequence = [lut(4096, 16, 65535)]
    color = dataset_of(
        _words(8), bits=8, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=0
    )
    color.PixelData = np.repeat(_words(8)[..., None], 3, axis=-1).tobytes()
    palette = dataset_of(_words(8), bits=8, PhotometricInterpretation="PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(palette, f"{name}PaletteColorLookupTableDescriptor", [256, 0, 16])
        ramp = np.arange(256, dtype="<u2") * 257
        setattr(palette, f"{name}PaletteColorLookupTableData", ramp.tobytes())
    return (*found, *map(_saved, (table, modality, color, palette)))


def _words(bits: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8 | np.uint16]]:
    return np.ascontiguousarray(values_of(bits)[::_ONE_IN, ::_ONE_IN].astype("u1" if bits == 8 else "u2"))


def _film(encoding: str, bits: int) -> bytes:
    header = _HEADER if bits == 12 else {}
    words = _words(bits)
    return _saved(encoded(dataset_of(words, bits=bits, **header), encoding, words, bits))


def _saved(dataset: Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


@cache
def pictures() -> tuple[bytes, ...]:
    """Films as PNG and JPEG, with EXIF and transparency."""
    grey = Image.fromarray(_words(8))
    exif = Image.Exif()
    exif[0x0112] = 6  # its orientation
    options: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("PNG", grey, {}),
        ("PNG", Image.fromarray(_words(16)), {}),
        ("PNG", grey.convert("LA"), {"exif": exif}),
    )
    files = []
    for kind, image, more in (*options, ("JPEG", grey, {"exif": exif}), ("JPEG", grey.convert("RGB"), {})):
        file = io.BytesIO()
        image.save(file, kind, **more)
        files.append(file.getvalue())
    return tuple(files)


@cache
def headers() -> tuple[bytes, ...]:
    """Films without their pixels, and documents."""
    return (*(film[: film.rindex(b"\xe0\x7f\x10\x00")] for film in films() if b"\xe0\x7f\x10\x00" in film), *reports())


@cache
def reports() -> tuple[bytes, ...]:
    """Our own reports, of every format."""
    return tuple(file.read_bytes() for file in sorted(_REPORTS.glob("format_*/*.dcm")))


def look_at(data: bytes) -> None:
    """The way of a film through decoder and window; its greys must be greys."""
    radiograph = read_radiograph(read_image(io.BytesIO(data), "the film"))
    low, high = float(radiograph.pixels.min()), float(radiograph.pixels.max())
    if not 0 <= low <= high <= 1:
        raise AssertionError(f"greys from {low} to {high}")


def take_in(data: bytes) -> None:
    """What the feed makes of an instance's header."""
    header = read_header(data)
    if is_own_object(header.texts) or not header.texts.get("StudyInstanceUID"):
        return
    now = datetime.now(UTC)
    ids = {"orthanc_id": "0", "digest": "0", "study_orthanc_id": "0"}
    facts = InstanceFacts(header=header.texts, first_items=header.first_items, **ids)
    received_instance(facts, now, ScopeRules())
    received_report(facts, now, frozenset())


@cache
def _predictor() -> tuple[Predictor, TriagePolicy]:
    settings = Settings()
    predictor = build_predictor(settings, build_scorer(settings))
    return predictor, TriagePolicy.of(predictor.scorer.card, settings.site_rules.triage)


def judge(data: bytes) -> None:
    """A whole judgement, as of an upload, with its pictures."""
    predictor, policy = _predictor()
    prediction = predictor.predict(io.BytesIO(data), "the upload", policy)
    prediction.to_json("/predict/0")
    prediction.pictures()


def read_back(data: bytes) -> None:
    """A report out of the PACS."""
    parse(read_object(data))


def _of(
    made: Callable[[], tuple[bytes, ...]], how: Callable[[random.Random, tuple[bytes, ...]], bytes]
) -> Callable[[random.Random], bytes]:
    return lambda chance: how(chance, made())


def _any_film(chance: random.Random) -> bytes:
    return mutate.dicom(chance, films()) if chance.randrange(4) else mutate.octets(chance, pictures())


TARGETS: Final = (
    Target(name="pixels", make=_of(films, mutate.dicom), take=look_at),
    Target(name="pictures", make=_of(pictures, mutate.octets), take=look_at),
    Target(name="headers", make=_of(headers, mutate.dicom), take=take_in),
    Target(name="uploads", make=_any_film, take=judge),
    Target(name="reports", make=_of(reports, mutate.dicom), take=read_back),
)
