"""The phrases of phrases.toml, compiled."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

_I: Final = re.IGNORECASE | re.MULTILINE


def _any_of(words: Sequence[str]) -> str:
    return rf"\b(?:{'|'.join(words)})(?!\w)"


def _compiled(machine: Mapping[str, Any]) -> tuple[re.Pattern[str], ...]:
    forget, rules = _any_of(machine["forget"]), _any_of(machine["rules"])
    order, classes = _any_of(machine["order"]), _any_of(machine["class"])
    order_abroad, classes_abroad = _any_of(machine["order_abroad"]), _any_of(machine["class_abroad"])
    return tuple(
        re.compile(pattern, _I)
        for pattern in (
            rf"{forget}[^.]{{0,60}}{rules}",
            rf"{order}[^.]{{0,40}}{_any_of(machine['as'])} [^.]{{0,30}}{classes}",
            rf"{order_abroad}[^.]{{0,40}}{classes_abroad}",
            "|".join(machine["patterns"]),
        )
    )


_PHRASES: Final = tomllib.loads((Path(__file__).parent / "phrases.toml").read_text(encoding="utf-8"))

TO_A_MACHINE: Final = _compiled(_PHRASES["machine"])
"""A sentence that matches one of these is addressed to a machine."""

FORBIDDEN: Final = {reason: re.compile(_any_of(words), _I) for reason, words in _PHRASES["forbidden"].items()}
"""What no explanation may say, by the reason that is given for refusing it."""
