"""The address at which the hospital's own viewer opens a study, as a site may write it."""

from __future__ import annotations

import re
from typing import Final

from pydantic_core import PydanticCustomError

_STUDY: Final = "{study_instance_uid}"
_OF_BROWSERS: Final = {"javascript", "data", "vbscript", "blob", "file", "filesystem", "about", "view-source"}


def check_viewer_url(url: str) -> str:
    """An address that holds the study once and that a page may link to.

    Raises:
        PydanticCustomError: of another kind of scheme, with a login, without the study, or with characters that no
            address has.
    """
    scheme, _, rest = url.partition(":")
    authority = re.split(r"[/?#]", rest.removeprefix("//"))[0] if rest.startswith("//") else ""
    is_web = scheme in {"http", "https"}
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", scheme) or scheme in _OF_BROWSERS or (is_web and not authority):
        raise PydanticCustomError(
            "scheme", "must start with http://, https:// or the viewer's own scheme in lower case"
        )
    if "@" in authority:
        raise PydanticCustomError("login_in_address", "must hold no login: every reader's browser would see it")
    if url.count(_STUDY) != 1 or (is_web and _STUDY in authority):
        raise PydanticCustomError("no_study", "must hold {s} once, behind the host", {"s": _STUDY})
    if not re.fullmatch(r"[!-~]+", url) or re.search(r'[<>"{}`\\^|]', url.replace(_STUDY, "")):
        raise PydanticCustomError("characters", "holds characters that no address has: write them as %20 and the like")
    return url
