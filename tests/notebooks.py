"""Notebooks, run cell by cell as a kernel does."""

from __future__ import annotations

import json
from typing import Any

from tests.servers import REPOSITORY

NOTEBOOKS = REPOSITORY / "models" / "notebooks"


def cells_of(name: str) -> list[dict[str, Any]]:
    """The cells of a notebook that hold code."""
    document = json.loads((NOTEBOOKS / name).read_text(encoding="utf-8"))
    return [cell for cell in document["cells"] if cell["cell_type"] == "code"]


def run_notebook(name: str) -> None:
    """Run its cells one after the other, as a kernel does."""
    names: dict[str, object] = {"__name__": "__main__"}
    for number, cell in enumerate(cells_of(name)):
        exec(compile("".join(cell["source"]), f"{name}, cell {number}", "exec"), names)  # noqa: S102 - our own files
