"""Every regular expression of the product against texts that make a bad one take for ever."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

import dicom_sr
import firstread
import gateway
import imaging
import models
import worker
import worklist
from worklist.notes.reading import MOST_CHARACTERS, read_note

PACKAGES = (dicom_sr, firstread, gateway, imaging, models, worker, worklist)
SEEDS = (" ", "\n ", "a", "A ", "9", "1.", "(", "a,", ".", "\\", "%41", "/a", "骨", "; 1")
LENGTH = 400
"""Characters: a pattern that tries all ways to divide them does not end, and any other takes no time."""


def modules() -> Iterator[ModuleType]:
    """Those that this installation can import; training and licensed models are not of the product's own paths."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".training" not in found.name and not found.name.endswith("__main__"):
                try:
                    yield importlib.import_module(found.name)  # noqa: TID251 - all there are
                except ImportError:
                    continue


def patterns(held: Any) -> Iterator[re.Pattern[Any]]:  # noqa: ANN401
    """A pattern, or those in a collection."""
    if isinstance(held, re.Pattern):
        yield held
    elif isinstance(held, dict):
        yield from patterns(list(held.values()))
    elif isinstance(held, (list, tuple, set, frozenset)):
        for one in held:
            yield from patterns(one)


@pytest.fixture(scope="module")
def known() -> dict[re.Pattern[Any], str]:
    """All patterns, and where each stands."""
    return {
        pattern: f"{module.__name__}.{name}"
        for module in modules()
        for name, held in vars(module).items()
        for pattern in patterns(held)
    }


def test_the_patterns_are_found(known: dict[re.Pattern[Any], str]) -> None:
    """Those of each layer, so that none is left out unnoticed."""
    assert {place.partition(".")[0] for place in known.values()} >= {"gateway", "worklist", "dicom_sr", "models"}
    assert len(known) > 80


def test_no_pattern_takes_for_ever(known: dict[re.Pattern[Any], str]) -> None:
    """Each comes to an end on hundreds of letters that nearly fit; a pattern that backtracks without end does not."""
    for pattern in known:
        for seed in SEEDS:
            text = seed * (LENGTH // len(seed)) + "\x00"
            subject: Any = text if isinstance(pattern.pattern, str) else text.encode()
            pattern.search(subject)
            pattern.fullmatch(subject)


@pytest.mark.parametrize("repeated", [".", "\n ", " \n", "! ", "9", "; "])
def test_a_note_of_one_sign_is_read_like_any_other(repeated: str) -> None:
    """As long as a note may be, it costs what so many words cost: whoever sends it holds up nobody else."""
    read_note("Cough. " + repeated * ((MOST_CHARACTERS - 10) // len(repeated)) + "x")
