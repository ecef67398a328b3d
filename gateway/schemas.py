"""What OpenAPI says of worklist/answers.py."""

from __future__ import annotations

from pydantic import BaseModel

from worklist.finding import Side


class FindingSchema(BaseModel, extra="forbid"):
    """One finding that was looked for: calibrated probability and operating point.

    Attributes:
        named: whether it may be put into words, since it is known how often such words are right.
        shown: whether it may be shown to people at all, since the output is better than chance.
    """

    name: str
    code: str
    scheme: str
    probability: float
    threshold: float
    side: Side | None
    named: bool
    shown: bool


class ModelSchema(BaseModel, extra="forbid"):
    """What computed the probabilities; sha256 is its weights'."""

    name: str
    version: str
    sha256: str
