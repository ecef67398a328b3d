"""Cells of a CSV table that a person may open in a spreadsheet, which takes some texts for formulas."""

from __future__ import annotations

from typing import Final

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")  # OWASP, CSV Injection; Excel in Japan


def defused(text: str) -> str:
    """A text as a cell: behind an apostrophe where a spreadsheet would take it for a formula."""
    return f"'{text}" if _is_formula(text) else text


def plain(cell: str) -> str:
    """The text of a cell that `defused` made."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return text.lstrip(" ").startswith(_FORMULA)
