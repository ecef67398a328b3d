"""Hyper-parameters in a TOML file, all of them and no others."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, TypeVar

from worklist.errors import InvalidInput

Recipe = TypeVar("Recipe")


def read_recipe(file: Path, kind: type[Recipe]) -> Recipe:
    """The recipe in a file: a dataclass that refuses, by ValueError, what is out of range.

    Raises:
        InvalidInput: bad_recipe, it cannot be read, or a key is missing, unknown or out of range.
    """
    try:
        document: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        found = kind(**document)
    except (OSError, ValueError, TypeError) as error:
        raise InvalidInput(
            "bad_recipe", f"{file} is no recipe ({error}): mend it, or begin from the shipped one"
        ) from error
    return found
