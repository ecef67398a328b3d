"""Studies as data sets: in the DICOM JSON model (PS3.18 Annex F) and the native one (PS3.19 Annex A)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, Final
from uuid import uuid4
from xml.etree.ElementTree import Element, SubElement, tostring

from gateway.search.studies import FoundStudy
from worklist.attributes import (
    ATTRIBUTES,
    PRIVATE_ATTRIBUTES,
    PRIVATE_CREATOR,
    PRIVATE_CREATOR_TAG,
    attribute,
)

EVERYTHING: Final = "all"
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_PRIVATE_TAGS: Final = frozenset(one.tag for one in PRIVATE_ATTRIBUTES)
_KEPT_IN_MEMORY: Final = 4096
_NUMBERS: Final = {"IS", "US", "UL", "SS", "SL"}

DicomJson = dict[str, Any]


def of_studies(found: Sequence[FoundStudy], retrieve_url: str, asked: Collection[str]) -> list[DicomJson]:
    """Studies in the DICOM JSON model, with what PS3.18 Table 10.6.3-3 asks for, what was asked for besides, and ours.

    Args:
        found: the studies.
        retrieve_url: of all studies, with a slash at its end.
        asked: keywords and tags of includefield and of the keys; "all" is everything that the index has.
    """
    wanted = {one.keyword for one in map(attribute, asked) if one}
    told = {
        one.tag: (one.vr, one.keyword)
        for one in ATTRIBUTES
        if one.is_returned or (one.is_of_studies and (one.keyword in wanted or EVERYTHING in asked))
    }
    own = {one.tag: (one.vr, one.tag) for one in PRIVATE_ATTRIBUTES}
    in_order = sorted((told | own | {PRIVATE_CREATOR_TAG: ("LO", PRIVATE_CREATOR_TAG)}).items())
    datasets = []
    for study in found:
        texts = {
            **study.texts,
            **study.private_texts,
            PRIVATE_CREATOR_TAG: PRIVATE_CREATOR,
            "RetrieveURL": retrieve_url + study.texts["StudyInstanceUID"],
            "SpecificCharacterSet": "ISO_IR 192",
        }
        datasets.append({tag: element(vr, texts.get(name, "")) for tag, (vr, name) in in_order})
    return datasets


@lru_cache(maxsize=_KEPT_IN_MEMORY)
def element(vr: str, text: str) -> DicomJson:
    """An element of the DICOM JSON model, not to be changed; one without a value has its VR alone."""
    if not text:
        return {"vr": vr}
    values: list[Any] = text.split("\\")
    if vr == "PN":
        values = [{name: part for name, part in zip(_GROUPS, one.split("="), strict=False) if part} for one in values]
    elif vr in _NUMBERS:
        values = [int(one) for one in values if one.strip().lstrip("-").isdecimal()]
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def multipart_xml(datasets: Sequence[DicomJson]) -> tuple[bytes, str]:
    """Data sets in the native DICOM model, one part each (PS3.18 section 8.7.5), and their media type."""
    boundary = uuid4().hex
    parts = [
        b"--%s\r\nContent-Type: application/dicom+xml\r\n\r\n%s\r\n" % (boundary.encode(), native(dataset))
        for dataset in datasets
    ]
    media_type = f'multipart/related; type="application/dicom+xml"; boundary={boundary}'
    return b"".join([*parts, b"--%s--\r\n" % boundary.encode()]), media_type


def native(dataset: DicomJson) -> bytes:
    """A data set in the native DICOM model."""
    root = Element(
        "NativeDicomModel", {"xmlns": "http://dicom.nema.org/PS3.19/models/NativeDICOM", "xml:space": "preserve"}
    )
    _add_elements(root, dataset)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _add_elements(parent: Element, dataset: DicomJson) -> None:
    for tag, held in dataset.items():
        known = attribute(tag)
        names = {"tag": tag, "vr": held["vr"]}
        if known:
            names["keyword"] = known.keyword
        if tag in _PRIVATE_TAGS:
            names = {**names, "tag": f"{tag[:4]}00{tag[6:]}", "privateCreator": PRIVATE_CREATOR}
        added = SubElement(parent, "DicomAttribute", names)
        for number, value in enumerate(held.get("Value", ()), start=1):
            _add_value(added, held["vr"], str(number), value)


def _add_value(parent: Element, vr: str, number: str, value: Any) -> None:  # noqa: ANN401 - JSON
    if vr == "SQ":
        _add_elements(SubElement(parent, "Item", {"number": number}), value or {})
    elif vr == "PN":
        name = SubElement(parent, "PersonName", {"number": number})
        for group, text in (value or {}).items():
            components = SubElement(name, group)
            for component, part in zip(_COMPONENTS, str(text).split("^"), strict=False):
                if part:
                    SubElement(components, component).text = part
    else:
        SubElement(parent, "Value", {"number": number}).text = "" if value is None else str(value)
