"""The native DICOM model (PS3.19 Annex A) as the DICOM JSON model."""

from __future__ import annotations

from typing import Any, Final
from xml.etree.ElementTree import Element, ParseError, XMLParser

from gateway.problems import Problem

_COMPONENTS: Final = ("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix")
_GROUPS: Final = ("Alphabetic", "Ideographic", "Phonetic")
_INTEGERS: Final = frozenset({"IS", "US", "UL", "SS", "SL", "UV", "SV"})
_DECIMALS: Final = frozenset({"DS", "FL", "FD"})
_DEEPEST: Final = 40  # elements within elements


def read_native(body: bytes) -> dict[str, Any]:
    """A data set as XML.

    Raises:
        Problem: 400, it is none.
    """
    if b"<!DOCTYPE" in body or b"<!ENTITY" in body or b"\0" in body:
        raise _bad("it declares entities, or is not in UTF-8")
    parser = XMLParser()  # noqa: S314 - without a document type there are no entities to expand
    try:
        parser.feed(body)
        root = parser.close()
    except (ParseError, ValueError, LookupError) as error:
        raise _bad(str(error)) from error
    if _name(root) != "NativeDicomModel":
        raise _bad(f"its root is {_name(root)[:64]}, and not NativeDicomModel")
    return _dataset(root, 0)


def _dataset(parent: Element, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise _bad("sequences lie within each other too deep")
    return {one.get("tag", ""): _element(one, depth) for one in parent if _name(one) == "DicomAttribute"}


def _element(attribute: Element, depth: int) -> dict[str, Any]:
    vr = attribute.get("vr", "UN")
    values: list[Any] = []
    for child in attribute:
        if _name(child) == "Value":
            values.append(_value(vr, child.text or ""))
        elif _name(child) == "Item":
            values.append(_dataset(child, depth + 1))
        elif _name(child) == "PersonName":
            values.append(_person_name(child))
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _value(vr: str, text: str) -> str | int | float:
    try:
        if vr in _INTEGERS:
            return int(text)
        return float(text) if vr in _DECIMALS else text
    except ValueError as error:
        raise _bad(f"{text[:32]} is no value of VR {vr}") from error


def _person_name(name: Element) -> dict[str, str]:
    groups = {}
    for group in name:
        if _name(group) in _GROUPS:
            parts = {_name(part): part.text or "" for part in group}
            groups[_name(group)] = "^".join(parts.get(one, "") for one in _COMPONENTS).rstrip("^")
    return groups


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _bad(why: str) -> Problem:
    return Problem(400, "no usable workitem", f"the body is no NativeDicomModel in XML: {why}")
