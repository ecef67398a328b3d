"""What a file holds, told by its first bytes and never by its name."""

from __future__ import annotations

from enum import StrEnum

HEAD_BYTES = 132


class ImageFormat(StrEnum):
    """The kinds of file that are read."""

    DICOM = "DICOM"
    PNG = "PNG"
    JPEG = "JPEG"


def image_format(head: bytes) -> ImageFormat | None:
    """The kind of image that a file's first HEAD_BYTES promise; None for anything else.

    A DICOM file without preamble (PS3.10 section 7.1) starts with its file meta information or with group 0008, in
    either byte order.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return ImageFormat.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return ImageFormat.JPEG
    if head[128:HEAD_BYTES] == b"DICM" or head[:2] in {b"\x02\x00", b"\x08\x00", b"\x00\x08"}:
        return ImageFormat.DICOM
    return None
