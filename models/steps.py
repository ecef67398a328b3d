"""Runs the steps of a result and keeps what became of each; a step that fails costs its own contribution only."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from imaging.radiograph import Radiograph
from worklist.errors import FirstreadError
from worklist.finding import Finding
from worklist.step import Step, StepName, StepVerdict
from worklist.words import two_places

log = structlog.get_logger()


@dataclass(slots=True)
class Outcome:
    """What a running step says of itself."""

    verdict: StepVerdict = StepVerdict.DONE
    output: str = ""

    def end(self, output: str, verdict: StepVerdict = StepVerdict.DONE) -> None:
        """What it contributes, or why it contributes nothing."""
        self.verdict, self.output = verdict, output


@dataclass(slots=True)
class Steps:
    """The steps of one result.

    Attributes:
        clock: seconds that only rise.
        taken: the steps so far.
    """

    clock: Callable[[], float] = time.perf_counter
    taken: list[Step] = field(default_factory=list)

    @contextmanager
    def step(
        self, name: StepName, given: str, *, raising: type[Exception] | tuple[type[Exception], ...] = ()
    ) -> Iterator[Outcome]:
        """Run the body as a step. What fails in it is logged and stands in the trace, and the next step runs.

        Args:
            name: which step it is.
            given: what it works on, one line.
            raising: what passes through nonetheless and leaves no trace here, since there is no result after it.
        """
        outcome, started = Outcome(), self.clock()
        try:
            yield outcome
        except raising:
            raise
        except FirstreadError as error:
            log.warning("a step failed", step=name, code=error.code, why=error.message)
            outcome.end(error.message, StepVerdict.FAILED)
        except Exception as error:  # noqa: BLE001 - whatever a library raises must not cost the other steps
            place = "".join(traceback.format_tb(error.__traceback__))
            # without its message, which may quote what it worked on
            log.error("a step failed unexpectedly", step=name, error=type(error).__name__, place=place)  # noqa: TRY400
            outcome.end(f"unexpected {type(error).__name__}: see the worker's log", StepVerdict.FAILED)
        self.taken.append(
            Step(
                name=name,
                verdict=outcome.verdict,
                elapsed_ms=0.0 if outcome.verdict is StepVerdict.LEFT_OUT else (self.clock() - started) * 1000,
                input=given,
                output=outcome.output,
            )
        )


def image_in_words(radiograph: Radiograph) -> str:
    """What a scorer works on."""
    rows, columns = radiograph.pixels.shape
    return f"an image of {columns} x {rows} pixels"


def scores_in_words(findings: Sequence[Finding], score: float) -> str:
    """What a scorer gives."""
    positive = sum(finding.is_positive for finding in findings)
    return f"score {two_places(score)}; {positive} of {len(findings)} findings at the threshold"
