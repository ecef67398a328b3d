"""docs/security.md: what it names as proof is there."""

from __future__ import annotations

import ast
import re

from tests.servers import REPOSITORY

PAGE = (REPOSITORY / "docs/security.md").read_text(encoding="utf-8")


def known_tests() -> set[str]:
    """The names of all tests."""
    return {
        node.name
        for file in (REPOSITORY / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")
    }


def test_each_test_that_the_page_names_exists() -> None:
    """A promise whose test was renamed or removed is a promise without proof."""
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 90
    assert named - known_tests() == set()


def test_each_file_that_the_page_names_exists() -> None:
    """The same of whole files of tests, and of each link."""
    files = re.findall(r"`(tests/[\w/.]+)`", PAGE)
    assert files
    assert [file for file in files if not (REPOSITORY / file).exists()] == []
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert [link for link in links if not (REPOSITORY / "docs" / link).exists()] == []


def test_each_attack_has_its_test() -> None:
    """No row of the table is without one."""
    table = PAGE.partition("## Attacks that were tried")[2].partition("## ")[0]
    rows = [row for row in table.splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 25
    assert [row for row in rows if "`test_" not in row.rpartition(" | ")[2]] == []
