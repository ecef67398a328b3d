"""What a caller accepts (RFC 9110 section 12.5.1, PS3.18 section 8.7)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import Final

from gateway.problems import Problem

JSON: Final = "application/dicom+json"
PLAIN_JSON: Final = "application/json"
XML: Final = "application/dicom+xml"


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaRange:
    """One part of an Accept header.

    Attributes:
        kind: such as multipart/related or */*, in lower case.
        parameters: by name in lower case.
        quality: from 0, never, to 1.
    """

    kind: str
    parameters: Mapping[str, str]
    quality: float

    def takes(self, media_type: str) -> bool:
        """Whether it stands for a media type, be it as a part of a multipart answer."""
        kind = self.kind
        if kind in {"multipart/*", "multipart/related"}:
            kind = self.parameters.get("type", "*/*").lower()
        main, _, sub = kind.partition("/")
        return kind == media_type or (sub == "*" and main in {"*", media_type.partition("/")[0]})


def accepts(header: str) -> list[MediaRange]:
    """The parts of an Accept header, the most wanted first; an empty one accepts everything."""
    ranges = [_range(part) for part in (header.strip() or "*/*").split(",") if part.strip()]
    return sorted((one for one in ranges if one.quality > 0), key=lambda one: -one.quality)


def chosen(header: str, offered: Sequence[str]) -> str:
    """The media type that a caller wants most of some, the first of them where it does not mind.

    Raises:
        Problem: 406, it takes none of them.
    """
    for one in accepts(header):
        for media_type in offered:
            if one.takes(media_type):
                return media_type
    raise Problem(406, "not acceptable", f"the answer is {' or '.join(offered)}: accept one of them")


def _range(text: str) -> MediaRange:
    header = Message()
    header["Content-Type"] = text.strip()
    (kind, _), *named = header.get_params(failobj=[("", "")])
    parameters = {name.lower(): value for name, value in named}
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return MediaRange(kind=kind.lower(), parameters=parameters, quality=quality)
