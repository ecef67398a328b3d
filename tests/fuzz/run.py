"""Some inputs given to a place, and what it made of each."""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import structlog

from tests.fuzz.targets import NAMED, Target


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What became of an input.

    Attributes:
        number: of the input; with the seed it makes the input again.
        is_refused: whether it was refused by one of our own errors.
        fault: what else was raised, and where; None where nothing was.
    """

    number: int
    is_refused: bool = False
    fault: str | None = None


def run(target: Target, seed: int, numbers: Iterable[int]) -> Iterator[Outcome]:
    """What each input of these numbers did."""
    for number in numbers:
        data = target.input(seed, number)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.simplefilter("ignore", ResourceWarning)  # a form that breaks off is closed by the collector
                warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")  # as the command does
                target.take(data)
        except NAMED:
            yield Outcome(number=number, is_refused=True)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001
            place = traceback.extract_tb(error.__traceback__)[-1]
            fault = f"{type(error).__name__} at {place.filename}:{place.lineno}: {error!s:.300}"
            yield Outcome(number=number, fault=fault)
        else:
            yield Outcome(number=number)


def be_silent() -> None:
    """Log nothing of this process: thousands of refusals would be told."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable()
