"""What the cells of a row say: numbers, truths, findings, boxes, identifiers, subgroups."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from models.evaluation.films import NAMES, SUBGROUPS, UNKNOWN, Box
from models.evaluation.tables import IDENTIFIERS, Row
from worklist.errors import InvalidInput

_TRUTHS = {"1": True, "1.0": True, "true": True, "yes": True, "0": False, "0.0": False, "false": False, "no": False}
_AGE = re.compile(r"(\d{1,3})(?:\.\d*)?([YMWD]?)", re.IGNORECASE)
_AGE_UNITS = {"": 1, "Y": 1, "M": 12, "W": 52, "D": 365}  # in a year; Age String, PS3.5 6.2
_AGE_BANDS = ((17, "0-17"), (39, "18-39"), (59, "40-59"), (79, "60-79"), (120, "80+"))
_CODES = ("sex", "view", "order_priority")  # Code Strings, which DICOM writes in capitals (PS3.5 6.2)


def truth_of(where: str, what: str, cell: object) -> bool:
    """Yes or no.

    Raises:
        InvalidInput: bad_label, the cell says neither.
    """
    if str(cell).lower() not in _TRUTHS:
        raise InvalidInput("bad_label", f"{where} says {cell!r} of {what}: write 1, 0 or nothing where unknown")
    return _TRUTHS[str(cell).lower()]


def share_of(where: str, what: str, cell: Any) -> float | None:  # noqa: ANN401 - a cell holds anything
    """A number from 0 to 1; None where the cell is empty.

    Raises:
        InvalidInput: bad_number, it is none.
    """
    return _number(where, what, cell, 1)


def seconds_of(where: str, what: str, cell: Any) -> float | None:  # noqa: ANN401 - a cell holds anything
    """A number of seconds from 0 on; None where the cell is empty.

    Raises:
        InvalidInput: bad_number, it is none.
    """
    return _number(where, what, cell, math.inf)


def _number(where: str, what: str, cell: Any, most: float) -> float | None:  # noqa: ANN401 - a cell holds anything
    if cell is None or cell == "":
        return None
    try:
        number = float(cell) if not isinstance(cell, bool) else math.nan
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number <= most or math.isinf(number):  # a NaN is never between
        bounds = "between 0 and 1" if most == 1 else "from 0 on"
        raise InvalidInput("bad_number", f"{where} has {cell!r} for {what}: write a number {bounds}")
    return number


def finding_of(name: object) -> str | None:
    """The key of one of the six findings; None for another."""
    return NAMES.get(str(name).lower().replace("_", " "))


def box_of(where: str, numbers: Sequence[Any], finding: object) -> Box:
    """A box of x, y, w and h.

    Raises:
        InvalidInput: bad_box, the numbers are none or it has no area.
    """
    target = finding_of(finding)
    try:
        x, y, w, h = map(float, numbers)
        return Box(x=x, y=y, w=w, h=h, target=target)
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            "bad_box", f"{where} has a box {list(numbers)!r}: x, y, w and h are pixels, w and h above 0"
        ) from error


def identifiers_of(row: Row) -> tuple[str, ...]:
    """What else the film is called, in the order of IDENTIFIERS."""
    cells = (row.get(name) for name in IDENTIFIERS)
    texts = (text for cell in cells for text in (cell if isinstance(cell, list) else [cell]))
    return tuple(dict.fromkeys(str(text) for text in texts if text))


def groups_of(row: Row) -> dict[str, str]:
    """The subgroups that a row states: by the columns of SUBGROUPS, and age for age_band."""
    cells = {key: row[key.replace("_", " ")] for key in SUBGROUPS if key.replace("_", " ") in row}
    groups = {key: str(cell or "").strip() or UNKNOWN for key, cell in cells.items()}
    for key in _CODES:
        if groups.get(key, UNKNOWN) != UNKNOWN:
            groups[key] = groups[key].upper()
    return groups | ({"age_band": _age_band(str(row["age"] or ""))} if "age" in row else {})


def _age_band(age: str) -> str:
    """The band of an age in years, or of an Age String (PS3.5 6.2) such as 034Y."""
    parts = _AGE.fullmatch(age)
    if not parts:
        return UNKNOWN
    years = int(parts[1]) // _AGE_UNITS[parts[2].upper()]
    return next((band for limit, band in _AGE_BANDS if years <= limit), UNKNOWN)
