"""Layer (b): a model's text held to the schema, and what it says as values, its boxes on the stored image."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from models.medgemma.film import ShownFilm
from models.medgemma.prompt import PromptFile, faults_of
from worklist.account import Certainty, Change, Statement
from worklist.finding import Region, Side

_THOUGHT: Final = re.compile(r"^\s*(?:<unused94>.*?<unused95>|thought\n.*?<unused95>)", re.DOTALL)
_FENCE: Final = re.compile(r"^\s*```(?:json)?\s*(.*?)\s*```\s*$", re.DOTALL)
_NOT_COMPARED: Final = "not compared"
_SIDES: Final = {"left": (Side.LEFT,), "right": (Side.RIGHT,), "both": (Side.RIGHT, Side.LEFT), "none": ()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What a language model answered.

    Attributes:
        explanation: its sentence.
        statements: its findings, each with the box that it drew for it; nothing is known of their support yet.
        change: since what it was given to compare with; None where it compares nothing.
        uncertainty: what limits it.
        quotes: numbers of the lines that it quotes, each once.
    """

    explanation: str
    statements: tuple[Statement, ...]
    change: Change | None
    uncertainty: str
    quotes: tuple[int, ...]


class BadAnswer(Exception):
    """The text is no answer; its message says why, and nothing of what it holds."""


def read_answer(text: str, prompt: PromptFile, film: ShownFilm) -> Answer:
    """The answer of a text.

    A thought before it and a fence of Markdown around it, which a server without constraint leaves there, do not
    count. Nothing else is mended.

    Args:
        text: the model's.
        prompt: whose schema it must keep to.
        film: on which it drew its boxes.

    Raises:
        BadAnswer: it is no JSON, or not of the schema.
    """
    values = read_values(text, prompt.schema)
    boxes = _boxes(values["boxes"], film)
    return Answer(
        explanation=values["explanation"],
        statements=tuple(
            Statement(
                type=prompt.findings[entry["finding"]],
                certainty=Certainty(entry["certainty"]),
                sides=_SIDES[entry["side"]],
                region=boxes.get(entry["finding"]),
            )
            for entry in values["statements"]
        ),
        change=None if values["comparison"] == _NOT_COMPARED else Change(values["comparison"]),
        uncertainty=values["uncertainty"],
        quotes=tuple(dict.fromkeys(values["quotes"])),
    )


def read_values(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a text that keeps to a schema.

    Raises:
        BadAnswer: it is no JSON, or not of the schema.
    """
    bare = _THOUGHT.sub("", text)
    fenced = _FENCE.match(bare)
    try:
        values: dict[str, Any] = json.loads(fenced[1] if fenced else bare)
    except (ValueError, RecursionError) as error:
        raise BadAnswer("the answer is not one JSON object") from error
    if faults := faults_of(values, schema):
        raise BadAnswer("; ".join(dict.fromkeys(faults)))
    return values


def _boxes(entries: Sequence[Mapping[str, Any]], film: ShownFilm) -> dict[str, Region]:
    """The first box of each finding that lies on the film."""
    found: dict[str, Region] = {}
    for entry in entries:
        region = film.region(entry["box_2d"])
        if region is not None:
            found.setdefault(entry["label"], region)
    return found
