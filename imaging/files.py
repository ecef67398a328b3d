"""Files to datasets: what a folder holds, and DICOM, PNG and JPEG told apart by content."""

from __future__ import annotations

import errno
import io
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from imaging import wrapping
from imaging.elements import quiet
from imaging.wrapping import MAX_PICTURE_BYTES, complete_file_meta, not_an_image, one_line, too_large
from worklist.errors import InvalidInput
from worklist.media import HEAD_BYTES, ImageFormat, image_format

_FILE_META_GROUP = 2
_NOT_STUDY_FILES = (
    *(".bz2", ".cfg", ".csv", ".gif", ".gz", ".htm", ".html", ".ini", ".js", ".json", ".log", ".md", ".pdf", ".py"),
    *(".rst", ".sh", ".tar", ".toml", ".tsv", ".txt", ".xml", ".xz", ".yaml", ".yml", ".zip"),
)


def open_study_files(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that may hold images: each file named, and what folders hold, in the order of their names.

    A file named by the caller is always taken. Below a folder, hidden files and folders, DICOMDIR, and files whose
    names say that they are something else (.md, .csv ...) are passed over. Links to folders, which are not followed,
    and folders that cannot be read come like files: `opened` says what is wrong with them.

    Raises:
        InvalidInput: no_such_file, a path does not exist.
    """
    for path in paths:
        if not _is_folder(path):
            yield path
            continue
        unread: list[OSError] = []
        for folder, subfolders, names in os.walk(path, onerror=unread.append):
            links = [name for name in subfolders if Path(folder, name).is_symlink()]
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
            for name in sorted((*names, *links)):
                hidden = name.startswith(".") or name.upper() == "DICOMDIR"
                if not hidden and not name.lower().endswith(_NOT_STUDY_FILES):
                    yield Path(folder, name)
        yield from (Path(os.fsdecode(error.filename)) for error in unread)


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError) as error:
        if not path.is_symlink():
            raise InvalidInput("no_such_file", f"{path} does not exist: check the path") from error
    except OSError:
        pass
    return False  # opened says why it cannot be read


def read_image(file: BinaryIO, name: str, *, header_only: bool = False) -> Dataset:
    """One DICOM, PNG or JPEG image as a dataset with file meta information, told apart by content.

    A DICOM file without the Part 10 preamble or file meta information (PS3.10 section 7.1) is read too, and gets a
    file meta of the encoding in which it was found. UIDs in the file meta that contradict the dataset give way to it.

    Args:
        file: the image, from its first byte on.
        name: what messages call it; a picture's patient is called by its stem.
        header_only: stop before the pixels of a DICOM file.

    Raises:
        InvalidInput: not_an_image, the file is none of the three; unreadable_dicom, it is broken DICOM;
            unreadable_picture or picture_too_large, as wrap_picture, the latter also of deflated DICOM.
        OSError: the disk does not give it.
    """
    found = image_format(file.read(HEAD_BYTES))
    file.seek(0)
    if found is None:
        raise not_an_image(name)
    if found is not ImageFormat.DICOM:
        return wrapping.wrap_picture(file, name)
    with reading_dicom(name), quiet():
        _refuse_bomb(file, name)
        dataset = dcmread(file, force=True, stop_before_pixels=header_only)
        missing = [word for word in ("SOPClassUID", "SOPInstanceUID") if not dataset.get(word)]
        if missing:
            raise InvalidInput("unreadable_dicom", f"{name} is DICOM without {' and '.join(missing)}: export it again")
        complete_file_meta(dataset)
    return dataset


def read_image_file(path: Path, *, header_only: bool = False) -> Dataset:
    """One DICOM, PNG or JPEG file as a dataset with file meta information: read_image of a path.

    Args:
        path: the file.
        header_only: stop before the pixels of a DICOM file.

    Raises:
        InvalidInput: as read_image; unreadable_file, the disk does not give it.
    """
    with opened(path) as file:
        return read_image(file, str(path), header_only=header_only)


def split_dicom(path: Path) -> tuple[Dataset, int]:
    """The file meta information of a Part 10 file, and the offset of the dataset behind it.

    Where the preamble is missing the file is not Part 10 (PS3.10 section 7.1), and the file meta comes back empty.

    Raises:
        InvalidInput: as read_image_file.
    """
    with opened(path) as file, reading_dicom(str(path)):
        head = file.read(HEAD_BYTES)
        if image_format(head) is not ImageFormat.DICOM:
            raise not_an_image(str(path))
        is_part_10 = head[128:] == b"DICM"
        file.seek(HEAD_BYTES if is_part_10 else 0)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_is_dataset)
        return meta if is_part_10 else Dataset(), file.tell()


def is_picture(path: Path) -> bool:
    """Whether a file's content is PNG or JPEG.

    Raises:
        InvalidInput: unreadable_file, the disk does not give it.
    """
    with opened(path) as file:
        return image_format(file.read(HEAD_BYTES)) in {ImageFormat.PNG, ImageFormat.JPEG}


def wrap_picture_file(path: Path) -> Dataset:
    """A PNG or JPEG chest film as a DX image: imaging.wrapping.wrap_picture of a path.

    Raises:
        InvalidInput: as there; unreadable_file, the disk does not give it.
    """
    with opened(path) as file:
        return wrapping.wrap_picture(file, str(path))


def read_text_file(path: Path) -> str:
    """A text file in UTF-8, with a byte order mark or without.

    Raises:
        InvalidInput: unreadable_file, it is no such text, or the disk does not give it.
    """
    with opened(path) as file:
        try:
            return io.TextIOWrapper(file, encoding="utf-8-sig").read()
        except UnicodeDecodeError as error:
            raise InvalidInput("unreadable_file", f"{path} is no text in UTF-8: save it as UTF-8") from error


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """An open file; what is none, or what the disk refuses, is told as InvalidInput, unreadable_file."""
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):  # a pipe would hang, and a device never end
            raise InvalidInput("unreadable_file", _not_a_file(path, mode))
        with path.open("rb") as file:
            yield file
    except OSError as error:
        is_broken_link = isinstance(error, FileNotFoundError) and path.is_symlink()
        why = "it is a link to nothing" if is_broken_link else error.strerror or error
        raise InvalidInput("unreadable_file", f"{path} cannot be read: {why}") from error


def _not_a_file(path: Path, mode: int) -> str:
    if not stat.S_ISDIR(mode):
        return f"{path} is no regular file: name a file on the disk"
    if not os.access(path, os.R_OK | os.X_OK):
        return f"{path} cannot be read: {os.strerror(errno.EACCES)}"
    if path.is_symlink():
        return f"{path} is a link to a folder, which is not followed: name the folder itself"
    return f"{path} is a folder: name a file"


@contextmanager
def reading_dicom(name: str) -> Iterator[None]:
    """Tell as InvalidInput what pydicom raises inside; where bytes are broken that is almost any exception."""
    try:
        yield
    except InvalidInput:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's own
        raise InvalidInput("unreadable_dicom", f"{name} is broken DICOM: {one_line(error)}") from error


def _refuse_bomb(file: BinaryIO, name: str) -> None:
    """Refuse a deflated dataset (PS3.5 A.5) of any size: pydicom inflates it a thousandfold, all at once."""
    is_part_10 = file.read(HEAD_BYTES)[128:] == b"DICM"
    file.seek(HEAD_BYTES if is_part_10 else 0)
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, *_: tag.group != 2)  # noqa: PLR2004 - File Meta Information
    if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        inflater.decompress(file.read(), MAX_PICTURE_BYTES)
        if inflater.unconsumed_tail:
            raise too_large(name, f"{MAX_PICTURE_BYTES // 1_000_000} MB")
    file.seek(0)


def _is_dataset(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group != _FILE_META_GROUP
