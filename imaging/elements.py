"""Single elements of a dataset that nobody vouches for: read as numbers and words, or refused."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pydicom import Dataset
from pydicom.errors import BytesLengthException

from worklist.errors import UnusableImage

LARGEST_VALUE = 1e9  # of a slope, intercept, window or padding value: beyond it something is broken
EMPTY: tuple[object, ...] = (None, "", [])
# What pydicom was seen to raise on damaged files: it converts an element on first access, each VR in its own way.
PYDICOM_ERRORS = (
    AttributeError, BytesLengthException, EOFError, IndexError, KeyError, NotImplementedError, OSError, OverflowError,
    RecursionError, TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip


def read_value(dataset: Dataset, keyword: str) -> Any:  # noqa: ANN401 - as many types as DICOM has VRs
    """The value of an element; None where it is absent.

    Raises:
        UnusableImage: invalid_pixel_attributes, pydicom cannot convert it.
    """
    try:
        return dataset.get(keyword)
    except PYDICOM_ERRORS as error:
        raise UnusableImage("invalid_pixel_attributes", f"The image's {keyword} cannot be read.") from error


def read_integer(dataset: Dataset, keyword: str, low: int, high: int, *, default: int | None = None) -> int:
    """A whole number between two bounds.

    Raises:
        UnusableImage: invalid_pixel_attributes, it is none, or missing without a default.
    """
    value = read_value(dataset, keyword)
    if value in EMPTY and default is not None:
        return default
    number = first_number(value)
    if number is None or not number.is_integer() or not low <= number <= high:
        stated = "missing" if value in EMPTY else str(value)[:32]
        raise UnusableImage("invalid_pixel_attributes", f"{keyword} is {stated}; it must be from {low} to {high}.")
    return int(number)


def first_number(value: object) -> float | None:
    """The first number of a value of any multiplicity; None where it is none, or beyond any sensible value."""
    first = value[0] if isinstance(value, Sequence) and not isinstance(value, str) and value else value
    try:
        number = float(first)  # type: ignore[arg-type]  # that this may fail is the point
    except (TypeError, ValueError, OverflowError):
        return None
    return number if abs(number) <= LARGEST_VALUE else None


def upper_words(value: object) -> list[str]:
    """A value of any multiplicity as upper-case words."""
    values = value.split("\\") if isinstance(value, str) else value if isinstance(value, Sequence) else ()
    return [str(text).strip().upper() for text in values]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom's warnings about elements that do not matter here; those that do are checked, and raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
