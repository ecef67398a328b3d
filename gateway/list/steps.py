"""How a result came about as JSON, and the models that describe it in OpenAPI."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel
from pydantic_core import to_json

from worklist.step import Step, StepName, StepVerdict, step_to_json


class StepItem(BaseModel, extra="forbid"):
    """One step that was taken.

    Attributes:
        elapsed_ms: how long it took, in milliseconds.
        input: what it worked on.
        output: what it contributes; where that is nothing, why.
    """

    name: StepName
    verdict: StepVerdict
    elapsed_ms: float
    input: str
    output: str


class StepsPage(BaseModel, extra="forbid"):
    """The steps in their order; those of several images have the image's number in their input."""

    items: list[StepItem]


def steps_json(steps: Iterable[Step]) -> bytes:
    """The answer of GET /worklist/{study_instance_uid}/steps."""
    return to_json({"items": [step_to_json(step) for step in steps]})
