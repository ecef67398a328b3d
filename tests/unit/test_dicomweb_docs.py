"""The page for integrators says what the table of attributes says."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dicomweb.searches import MOST_RESULTS
from worklist.attributes import ATTRIBUTES, PRIVATE_ATTRIBUTES, Attribute

PAGE = (Path(__file__).parents[2] / "docs" / "dicomweb.md").read_text(encoding="utf-8")
OF_STUDIES = [one for one in ATTRIBUTES if one.is_of_studies]


def written(tag: str) -> str:
    """A tag as people write it."""
    return f"({tag[:4]},{tag[4:]})"


@pytest.mark.parametrize("one", OF_STUDIES, ids=lambda one: one.keyword)
def test_each_attribute_has_its_row(one: Attribute) -> None:
    """Tag, VR, kind of matching, who matches, and whether it is returned."""
    by = "list, then Orthanc" if one.column else "Orthanc"
    by = "list" if one.is_ours_alone else by if one.is_key else ""
    returned = "always" if one.is_returned else "on request"
    assert f"| {one.keyword} | {written(one.tag)} | {one.vr} | {one.matching} | {by} | {returned} |" in PAGE


def test_no_row_is_of_anything_else() -> None:
    """There are as many rows as attributes, the private ones included."""
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "| (" in line]
    assert len(rows) == len(OF_STUDIES) + len(PRIVATE_ATTRIBUTES)


def test_private_elements_and_the_largest_answer_are_told() -> None:
    """Each private element with what it means, and after how many studies an answer ends."""
    assert all(f"| {written(one.tag)} | {one.vr} | {one.meaning} |" in PAGE for one in PRIVATE_ATTRIBUTES)
    assert f"an answer has {MOST_RESULTS} studies" in PAGE
