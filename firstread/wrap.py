"""From files on a disk to DICOM datasets: what a folder holds, and pictures wrapped as DX images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from models import pictures
from models.pictures import MAX_PICTURE_BYTES, MAX_PICTURE_PIXELS, chest_dx, code, complete_file_meta, derived_uid
from worklist.errors import InvalidInput
from worklist.media import HEAD_BYTES, ImageFormat, image_format

__all__ = [
    "MAX_PICTURE_BYTES",
    "MAX_PICTURE_PIXELS",
    "chest_dx",
    "code",
    "complete_file_meta",
    "derived_uid",
    "is_picture",
    "load_any",
    "open_study_files",
    "split_dicom",
    "wrap_picture",
]

_FILE_META_GROUP = 2
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
    """One DICOM, PNG or JPEG file as a dataset with file meta information: models.pictures.read_image of a path.

    Args:
        path: the file.
        header_only: stop before the pixels of a DICOM file.

    Raises:
        InvalidInput: as read_image; unreadable_file, the disk does not give it.
    """
    with opened(path) as file:
        return pictures.read_image(file, str(path), header_only=header_only)


def split_dicom(path: Path) -> tuple[Dataset, int]:
    """The file meta information of a Part 10 file, and the offset of the dataset behind it.

    Where the preamble is missing the file is not Part 10 (PS3.10 section 7.1), and the file meta comes back empty.

    Raises:
        InvalidInput: as load_any.
    """
    with opened(path) as file, pictures.reading_dicom(str(path)):
        head = file.read(HEAD_BYTES)
        if image_format(head) is not ImageFormat.DICOM:
            raise pictures.not_an_image(str(path))
        is_part_10 = head[128:] == b"DICM"
        file.seek(HEAD_BYTES if is_part_10 else 0)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_is_dataset)
        return meta if is_part_10 else Dataset(), file.tell()


def _is_dataset(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != _FILE_META_GROUP


def is_picture(path: Path) -> bool:
    """Whether a file's content is PNG or JPEG.

    Raises:
        InvalidInput: unreadable_file, the disk does not give it.
    """
    with opened(path) as file:
        return image_format(file.read(HEAD_BYTES)) in {ImageFormat.PNG, ImageFormat.JPEG}


def wrap_picture(path: Path) -> Dataset:
    """A PNG or JPEG chest film as a DX image: models.pictures.wrap_picture of a path.

    Raises:
        InvalidInput: as there; unreadable_file, the disk does not give it.
    """
    with opened(path) as file:
        return pictures.wrap_picture(file, str(path))


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """An open file; what the disk refuses is told as InvalidInput, unreadable_file."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise InvalidInput("unreadable_file", f"{path} cannot be read: {error.strerror or error}") from error
