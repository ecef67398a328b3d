"""The first frame of the pixel data, and how many there are, by what the data hold rather than by offset tables."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from pydicom.encaps import generate_fragments, parse_basic_offsets

from imaging.elements import PYDICOM_ERRORS
from worklist.errors import UnusableImage

_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x0cjP  ")  # JPEG and JPEG-LS, JPEG 2000, its JP2 boxes


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """The first frame of an image.

    Attributes:
        first: its bytes.
        count: of the frames that the pixel data hold.
    """

    first: bytes
    count: int


def native_frames(data: bytes, needed: int, stated: int) -> Frames:
    """Uncompressed frames of so many bytes each; a few bytes behind the last one are none.

    Raises:
        UnusableImage: pixel_data_truncated, they hold less than one.
    """
    if len(data) < needed:
        raise truncated(f"{len(data):,} of {needed:,} bytes arrived")
    return Frames(first=data, count=min(len(data) // needed, stated) if stated > 1 else 1)


def encapsulated_frames(data: bytes, stated: int, *, are_codestreams: bool) -> Frames:
    """Encapsulated frames (PS3.5 A.4): a frame begins with a fragment that begins a codestream.

    Offset tables are passed over: scanners were seen to write them wrong, and a codestream's own start cannot be.

    Args:
        data: the value of Pixel Data.
        stated: Number of Frames (0028,0008).
        are_codestreams: whether frames are JPEG, JPEG-LS or JPEG 2000; a run-length frame has no start of its own,
            and is one fragment where several frames are stated.

    Raises:
        UnusableImage: pixel_data_truncated, the fragments end before the first frame does.
    """
    try:
        stream = BytesIO(data)
        parse_basic_offsets(stream)
        fragments = [fragment for fragment in generate_fragments(stream) if fragment]
    except PYDICOM_ERRORS as error:
        raise truncated("they end before the first frame does") from error
    if are_codestreams:
        starts = [place for place, fragment in enumerate(fragments) if fragment.startswith(_STARTS)]
    else:
        starts = list(range(len(fragments))) if stated > 1 else []
    begin, end = (*starts, 0, len(fragments))[:1][0], starts[1] if len(starts) > 1 else len(fragments)
    first = b"".join(fragments[begin:end])
    if not first:
        raise truncated("they end before the first frame does")
    return Frames(first=first, count=max(len(starts), 1))


def truncated(what: str) -> UnusableImage:
    """The refusal of pixel data that are not all there."""
    return UnusableImage("pixel_data_truncated", f"The pixel data are incomplete ({what}); send the image again.")
