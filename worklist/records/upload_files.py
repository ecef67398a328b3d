"""Uploads and their pictures as files: in a folder that gateways and workers share, readable by their account alone.

A folder for each prediction holds film, earlier report and note, and who judges it, until it is judged, and the
pictures after that; and what was read of the note, until it is told: no word of a note reaches the database.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from worklist.errors import InvalidInput, ModelUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{24}")  # of a prediction: nothing else is a folder of ours
_FILM, _PRIOR_REPORT, _NOTE, _READING, _HOLDER = "film", "prior_report", "note", "reading", "holder"


class UploadFiles:
    """The shared folder.

    Args:
        folder: is made where it is missing.

    Raises:
        InvalidInput: bad_upload_dir, it cannot be made or written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _unusable(self.folder, error) from error
        if not os.access(self.folder, os.R_OK | os.W_OK | os.X_OK):
            raise _unusable(self.folder, PermissionError(0, "Permission denied"))

    def keep(self, prediction_id: str, film: BinaryIO | None, prior_report: str | None, note: str | None) -> None:
        """Keep an upload: a film with the texts beside it, or a note alone.

        Raises:
            ModelUnavailable: upload_not_kept, the disk is full or the folder gone.
        """
        with self._writing():
            place = self._place(prediction_id)
            place.mkdir(mode=0o700)
            if film is not None:
                with _new_file(place / _FILM) as file:
                    shutil.copyfileobj(film, file, 1 << 20)
            for name, text in ((_PRIOR_REPORT, prior_report), (_NOTE, note)):
                if text is not None:
                    with _new_file(place / name) as file:
                        file.write(text.encode())

    def film(self, prediction_id: str) -> BinaryIO:
        """An upload's film, from its first byte on.

        Raises:
            ModelUnavailable: upload_not_shared, it is not here.
        """
        try:
            return (self._place(prediction_id) / _FILM).open("rb")
        except OSError as error:
            raise _not_shared() from error

    def prior_report(self, prediction_id: str) -> str | None:
        """The text of an upload's earlier report; None where there is none."""
        with suppress(OSError):
            return (self._place(prediction_id) / _PRIOR_REPORT).read_text(encoding="utf-8")
        return None

    def note(self, prediction_id: str) -> str | None:
        """The text of an upload's note; None where there is none."""
        with suppress(OSError):
            return (self._place(prediction_id) / _NOTE).read_text(encoding="utf-8")
        return None

    def keep_reading(self, prediction_id: str, reading: str) -> None:
        """Keep what was read of a note; nothing where nobody waits for it any more.

        Raises:
            ModelUnavailable: upload_not_kept, the disk is full.
        """
        with self._writing(), suppress(FileNotFoundError), _new_file(self._place(prediction_id) / _READING) as file:
            file.write(reading.encode())

    def take_reading(self, prediction_id: str) -> str:
        """What was read of a note, which is erased thereby.

        Raises:
            ModelUnavailable: upload_not_shared, it is not here.
        """
        path = self._place(prediction_id) / _READING
        try:
            reading = path.read_text(encoding="utf-8")
        except OSError as error:
            raise _not_shared() from error
        path.unlink(missing_ok=True)
        return reading

    def has_film(self, prediction_id: str) -> bool:
        """Whether an upload is a film; else it is a note alone."""
        return (self._place(prediction_id) / _FILM).exists()

    def hold(self, prediction_id: str, holder: str) -> None:
        """Say who judges an upload; nothing where the folder is not here, which `film` tells."""
        with suppress(OSError), _new_file(self._place(prediction_id) / _HOLDER) as file:
            file.write(holder.encode())

    def holder(self, prediction_id: str) -> str:
        """Who judges an upload; empty where nobody has said so."""
        with suppress(OSError):
            return (self._place(prediction_id) / _HOLDER).read_text(encoding="utf-8")
        return ""

    def keep_pictures(self, prediction_id: str, pictures: Sequence[bytes]) -> None:
        """Keep PNG files in place of the upload; nothing where nobody waits for them any more.

        Raises:
            ModelUnavailable: upload_not_kept, the disk is full.
        """
        place = self._place(prediction_id)
        with self._writing(), suppress(FileNotFoundError):
            for position, png in enumerate(pictures):
                with _new_file(place / f"{position}.png") as file:
                    file.write(png)
        self.erase_upload(prediction_id)

    def picture(self, prediction_id: str, position: int) -> bytes | None:
        """A picture as PNG."""
        if not _NAME.fullmatch(prediction_id):
            return None
        with suppress(OSError):
            return (self._place(prediction_id) / f"{position}.png").read_bytes()
        return None

    def erase_upload(self, prediction_id: str) -> None:
        """Erase film, earlier report and note."""
        for name in (_FILM, _PRIOR_REPORT, _NOTE, _HOLDER):
            (self._place(prediction_id) / name).unlink(missing_ok=True)

    def erase(self, prediction_id: str) -> None:
        """Erase everything of a prediction."""
        shutil.rmtree(self._place(prediction_id), ignore_errors=True)

    def kept(self) -> set[str]:
        """The predictions of which there is anything."""
        return {found.name for found in self.folder.iterdir() if _NAME.fullmatch(found.name)}

    def _place(self, prediction_id: str) -> Path:
        return self.folder / prediction_id

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ModelUnavailable(
                "upload_not_kept",
                f"{self.folder} takes no upload ({error.strerror}): free its disk, or set FIRSTREAD_UPLOAD_DIR",
            ) from error


def _new_file(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _not_shared() -> ModelUnavailable:
    return ModelUnavailable(
        "upload_not_shared",
        "the worker does not find the upload: gateway and worker must share one folder, FIRSTREAD_UPLOAD_DIR",
    )


def _unusable(folder: Path, error: OSError) -> InvalidInput:
    return InvalidInput(
        "bad_upload_dir",
        f"{folder} cannot hold uploads ({error.strerror}): set FIRSTREAD_UPLOAD_DIR to a folder that can be written",
    )
