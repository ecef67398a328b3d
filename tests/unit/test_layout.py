"""docs/layout.md tells where things are."""

from __future__ import annotations

import re

import pytest

from tests.servers import REPOSITORY

_PAGE = (REPOSITORY / "docs" / "layout.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("place", [".", "gateway"])
def test_every_package_has_its_row(place: str) -> None:
    """A folder with Python in it that the page does not name is one that no newcomer finds, and the reverse."""
    packages = {file.parent.name for file in (REPOSITORY / place).glob("*/__init__.py")}
    rooms = _PAGE.index("The rooms of the gateway")
    part = _PAGE[:rooms] if place == "." else _PAGE[rooms:]
    named = {name for row in re.findall(r"^\| ((?:`\w+/`(?:, )?)+)", part, re.MULTILINE) for name in _names(row)}
    assert packages <= named
    assert all((REPOSITORY / place / name).is_dir() for name in named)


def _names(row: str) -> list[str]:
    return re.findall(r"`(\w+)/`", row)
