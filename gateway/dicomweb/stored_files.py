"""One instance as it is stored (PS3.18 section 10.4), from Orthanc's own interface.

Its DICOMweb plug-in copies a film several times before it sends the first byte of it, which takes twice as long as to
hand out the file. What is not one instance, and whatever goes wrong, is left to the plug-in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

import httpx

from gateway.intake.orthanc import reading_answer
from worklist.matching import is_uid

_INSTANCE: Final = re.compile(r"studies/([^/]+)/series/([^/]+)/instances/([^/]+)")
_KEYWORDS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredFile:
    """A file that is about to come, as the one part of a multipart answer (RFC 2046 section 5.1.1).

    Attributes:
        answer: Orthanc's, whose body is the file.
        boundary: of the parts.
    """

    answer: httpx.Response
    boundary: str

    @property
    def before(self) -> bytes:
        """What precedes the file."""
        return b"--%s\r\nContent-Type: application/dicom\r\n\r\n" % self.boundary.encode()

    @property
    def after(self) -> bytes:
        """What follows it."""
        return b"\r\n--%s--\r\n" % self.boundary.encode()

    @property
    def headers(self) -> dict[str, str]:
        """Media type and length of the answer."""
        length = len(self.before) + int(self.answer.headers["content-length"]) + len(self.after)
        media_type = f'multipart/related; type="application/dicom"; boundary={self.boundary}'
        return {"content-type": media_type, "content-length": str(length)}


async def stored_file(orthanc: httpx.AsyncClient, url: str, path: str) -> StoredFile | None:
    """The file of the instance that a resource names; None where it names another thing, or not exactly one instance.

    Args:
        orthanc: the connection, with Orthanc's login.
        url: root of Orthanc.
        path: the resource, without the root of the DICOMweb service.

    Raises:
        httpx.HTTPError: Orthanc does not answer.
        PacsUnavailable: it answers otherwise than it should.
    """
    named = _INSTANCE.fullmatch(path)
    if named is None or not all(map(is_uid, named.groups())):
        return None
    query = dict(zip(_KEYWORDS, named.groups(), strict=True))
    found = await orthanc.post(f"{url}/tools/find", json={"Level": "Instance", "Query": query})
    with reading_answer():
        instances = list(found.json()) if found.is_success else []
    if len(instances) != 1:  # two patients may share UIDs
        return None
    as_it_is = {"accept-encoding": "identity"}
    asked = orthanc.build_request("GET", f"{url}/instances/{instances[0]}/file", headers=as_it_is)
    answer = await orthanc.send(asked, stream=True)
    if answer.is_success and "content-length" in answer.headers:
        return StoredFile(answer=answer, boundary=uuid4().hex)
    await answer.aclose()
    return None
