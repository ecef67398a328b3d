"""What is asked of Orthanc's DICOMweb plug-in, put in the words that it understands and survives.

Orthanc 1.10 takes a query as it is written, percent signs included. Its GDCM plug-in crashes while it transcodes, now
and then, and a viewport of no size or of a huge one ends it every time, as a broken film does that it draws; each takes
the whole PACS down for a while. So films are retrieved as they are stored, a picture is drawn of what is known to be
whole, and what would make Orthanc do otherwise never reaches it.
"""

from __future__ import annotations

import re
from email.message import Message

from gateway.problems import Problem

_LARGEST_VIEWPORT_PX = 4096
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b'%&#"<>')  # may stand in a query as it is, and ends nothing there
_WHOLE = re.compile(r"studies/[^/]+(/series/[^/]+(/instances/[^/]+)?)?")
_FRAMES = re.compile(r"studies/[^/]+/series/[^/]+/instances/[^/]+/frames/[^/]+")
_DRAWN = re.compile(r"studies/[^/]+/series/[^/]+/instances/([^/]+)(?:/frames/[^/]+)?/(?:rendered|thumbnail)")
_AS_STORED = 'multipart/related; type="{}"; transfer-syntax=*'
_COUNT = re.compile(rb"[0-9]{1,9}")
_VIEWPORT = re.compile(rb"([0-9]{1,4}),([0-9]{1,4})((,-?[0-9]{0,5}(\.[0-9]{1,6})?){4})?")


def plain_query(query: bytes) -> bytes:
    """A query in which nothing is percent-encoded that need not be (RFC 3986 section 6.2.2.2, and a little more).

    Spaces and what is not ASCII stay encoded: Orthanc would refuse them.
    """
    return _ENCODED.sub(_plainly, query)


def _plainly(encoded: re.Match[bytes]) -> bytes:
    octet = int(encoded[1], 16)
    return bytes([octet]) if octet in _PLAIN else encoded[0]


def check_viewport(query: bytes) -> None:
    """Refuse a size that Orthanc cannot draw (PS3.18 section 8.3.5.1.3).

    Args:
        query: a plain query.

    Raises:
        Problem: 400, the viewport is none, or empty, or too large.
    """
    for parameter in query.split(b"&"):
        name, _, value = parameter.partition(b"=")
        if name != b"viewport":
            continue
        size = _VIEWPORT.fullmatch(value)
        if not size or not all(0 < int(side) <= _LARGEST_VIEWPORT_PX for side in size.group(1, 2)):
            detail = f"viewport takes a width and a height from 1 to {_LARGEST_VIEWPORT_PX} pixels, such as 512,512"
            raise Problem(400, "no usable viewport", detail)


def check_page(query: bytes) -> None:
    """Refuse a limit or offset that is no number, on which Orthanc fails (PS3.18 section 8.3.4.4).

    Args:
        query: a plain query.

    Raises:
        Problem: 400, one of them is none.
    """
    for parameter in query.split(b"&"):
        name, _, value = parameter.partition(b"=")
        if name in {b"limit", b"offset"} and not _COUNT.fullmatch(value):
            raise Problem(400, f"no usable {name.decode()}", f"{name.decode()} takes a whole number from 0 on")


def drawn_instance(path: str) -> str | None:
    """The SOP Instance UID of what would be drawn as a picture; None where nothing would.

    Args:
        path: the resource, without the root of the service.

    Raises:
        Problem: 400, it would be all images of a study or series, each of which may be broken.
    """
    if path.rpartition("/")[2] not in {"rendered", "thumbnail"}:
        return None
    drawn = _DRAWN.fullmatch(path)
    if not drawn:
        raise Problem(400, "not of one image", "a picture is drawn of one image: ask for .../instances/UID/rendered")
    return drawn[1]


def accepted(path: str, accept: str) -> str:
    """The media type to ask Orthanc for; films and frames always as they are stored (PS3.18 section 8.7.3.5.2).

    Args:
        path: the resource, without the root of the service.
        accept: what the caller takes; one that names no transfer syntax gets what is stored, too.

    Raises:
        Problem: 400, Orthanc would have to transcode.
    """
    if _FRAMES.fullmatch(path):
        media_type = "application/octet-stream"
    elif _WHOLE.fullmatch(path):
        media_type = "application/dicom"
    else:
        return accept
    as_stored = _AS_STORED.format(media_type)
    if any(_takes(one, media_type) for one in accept.split(",")):
        return as_stored
    raise Problem(400, "not as it is stored", f"images come as they are stored: ask for {as_stored}")


def _takes(media_range: str, media_type: str) -> bool:
    header = Message()
    header["Content-Type"] = media_range.strip()
    (kind, _), *named = header.get_params(failobj=[("", "")])
    parameters = {name.lower(): value for name, value in named}
    return (
        kind.lower() in {"*/*", "multipart/*", "multipart/related"}
        and parameters.get("type", media_type) in {media_type, "*/*"}
        and parameters.get("transfer-syntax", "*") == "*"
    )
