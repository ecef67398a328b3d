"""What the PACS answers, read: files, JSON and refusals."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pydicom
import urllib3
from pydicom.errors import InvalidDicomError

from imaging.elements import PYDICOM_ERRORS
from worklist.errors import PacsUnavailable, UnusableImage

PIECE: Final = 1 << 18  # bytes of a file of which the header is wanted: it fits in one
_UNKNOWN_RESOURCE = 17  # Orthanc's own number for a path that neither it nor a plug-in serves


def uids_of(dataset: pydicom.Dataset) -> tuple[str, str, str]:
    """Study, Series and SOP Instance UID, each empty where it is not stated.

    Raises:
        UnusableImage: unreadable_object.
    """
    with reading():
        study, series, instance = (
            str(dataset.get(keyword, "")).strip()
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
        )
    return study, series, instance


def read_object(file: bytes | Beginning, *, stop_before_pixels: bool = False) -> pydicom.Dataset:
    """A file out of the PACS.

    Raises:
        UnusableImage: unreadable_object, it is no readable DICOM.
    """
    with reading(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # odd values in a hospital's headers are no news here
        opened = io.BytesIO(file) if isinstance(file, bytes) else file
        return pydicom.dcmread(opened, stop_before_pixels=stop_before_pixels)


class Beginning(io.BytesIO):
    """A file of which only the beginning is fetched: as much as is read, a piece at a time."""

    def __init__(self, answer: urllib3.BaseHTTPResponse) -> None:
        super().__init__()
        self._answer = answer

    def read(self, size: int | None = -1, /) -> bytes:
        """So many bytes from where one is, fetched as far as they are not there yet."""
        wanted = None if size is None or size < 0 else self.tell() + size
        self._fetch(wanted)
        return super().read(size)

    def _fetch(self, wanted: int | None) -> None:
        at, held = self.tell(), self.seek(0, io.SEEK_END)
        while (wanted is None or held < wanted) and (piece := self._answer.read(PIECE)):
            held += self.write(piece)
        self.seek(at)


def json_of(answer: urllib3.BaseHTTPResponse) -> Any:  # noqa: ANN401 - JSON
    """What the PACS says in JSON.

    Raises:
        PacsUnavailable: pacs_error, it is something else.
    """
    try:
        return json.loads(answer.data)
    except ValueError as error:
        raise PacsUnavailable("pacs_error", "Orthanc answers something else than JSON: see its log") from error


@contextmanager
def reading() -> Iterator[None]:
    """What pydicom raises within, as an UnusableImage without the values that it quotes."""
    try:
        yield
    except (InvalidDicomError, *PYDICOM_ERRORS) as error:
        raise UnusableImage(
            "unreadable_object", f"the PACS returned no readable DICOM ({type(error).__name__})"
        ) from error


def is_unserved(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether Orthanc knows no such path, as where a plug-in is missing."""
    try:
        said = json.loads(answer.data)
    except ValueError:
        return False
    return isinstance(said, dict) and said.get("OrthancStatus") == _UNKNOWN_RESOURCE
