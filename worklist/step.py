"""The steps by which a result comes about, each with what went in, what came out, how long it took and how it ended.

Scope, score and localize run on the fast path, image by image, the others on the slow one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

_BETWEEN: Final = " => "  # stands between input and output where a step is one line


class StepName(StrEnum):
    """The steps, in their order."""

    SCOPE = "scope"
    SCORE = "score"
    PRIORS = "find priors"
    LOCALIZE = "localize"
    COMPARE = "compare"
    EXPLAIN = "explain"
    CHECK = "check"


class StepVerdict(StrEnum):
    """How a step ended."""

    DONE = "done"
    NOTHING = "nothing found"
    LEFT_OUT = "left out"
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One step that was taken.

    Attributes:
        input: what it worked on, one line without anything that names the patient.
        output: what it contributes; where that is nothing, why.
        elapsed_ms: how long it took, in milliseconds, to a tenth.
    """

    name: StepName
    verdict: StepVerdict
    elapsed_ms: float
    input: str
    output: str

    def __post_init__(self) -> None:
        """Bring the words on one line each, and the time to a tenth, so that both survive wherever they are kept."""
        for name in ("input", "output"):
            seen = "".join(letter if letter.isprintable() else " " for letter in getattr(self, name))
            words = " ".join(seen.split()).replace(_BETWEEN.strip(), "->")
            if not words:
                raise ValueError(f"the step {self.name} does not say its {name}")
            object.__setattr__(self, name, words)
        object.__setattr__(self, "elapsed_ms", round(float(self.elapsed_ms), 1))

    @property
    def line(self) -> str:
        """The step as one line: 'score, done in 21.4 ms: an image of 2500 x 2048 pixels => 6 findings.'."""
        return f"{self.name}, {self.verdict} in {self.elapsed_ms} ms: {self.input}{_BETWEEN}{self.output}."

    @classmethod
    def of_line(cls, line: str) -> Step:
        """The step of such a line.

        Raises:
            ValueError: it is none.
        """
        head, _, rest = line.partition(": ")
        name, _, ending = head.partition(", ")
        verdict, _, elapsed = ending.removesuffix(" ms").rpartition(" in ")
        given, between, output = rest.removesuffix(".").partition(_BETWEEN)
        if not between:
            raise ValueError(f"{line!r} is no step")
        return cls(
            name=StepName(name), verdict=StepVerdict(verdict), elapsed_ms=float(elapsed), input=given, output=output
        )


def in_order(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Steps in the order in which they are told; those of several images stay in theirs."""
    places = list(StepName)
    return tuple(sorted(steps, key=lambda step: places.index(step.name)))


def steps_digest(steps: Iterable[Step]) -> str:
    """SHA-256 of steps as JSON."""
    return hashlib.sha256(json.dumps([step_to_json(step) for step in steps], sort_keys=True).encode()).hexdigest()


def step_to_json(step: Step) -> dict[str, Any]:
    """A step as JSON values; the number survives exactly."""
    return asdict(step)


def step_of_json(values: Mapping[str, Any]) -> Step:
    """The step of step_to_json; fields that a later version adds are passed over.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    return Step(
        name=StepName(values["name"]),
        verdict=StepVerdict(values["verdict"]),
        elapsed_ms=values["elapsed_ms"],
        input=values["input"],
        output=values["output"],
    )
