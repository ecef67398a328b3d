"""What a language model is asked, whichever way it is reached, and how long it may take."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from PIL import Image

from worklist.errors import ModelUnavailable, NoLongerWanted
from worklist.finding import Algorithm


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """One question: rules, images first, then text; and what bounds the answer.

    Attributes:
        schema: JSON Schema of the answer.
        max_tokens: by which every answer that keeps to the schema is complete.
    """

    system: str
    images: tuple[Image.Image, ...]
    text: str
    schema: Mapping[str, Any]
    max_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Patience:
    """How long an answer is waited for.

    Attributes:
        until: of time.monotonic().
        why_unwanted: why the answer is of no use any more; "" while it is.
    """

    until: float
    why_unwanted: Callable[[], str]

    @property
    def left_s(self) -> float:
        """The seconds that are left."""
        return self.until - time.monotonic()

    def require(self) -> None:
        """Go on waiting only for what is wanted, and not too long.

        Raises:
            NoLongerWanted: nobody needs the answer any more.
            ModelUnavailable: explainer_timeout, it took too long.
        """
        if why := self.why_unwanted():
            raise NoLongerWanted("no_longer_wanted", why)
        if self.left_s <= 0:
            raise ModelUnavailable(
                "explainer_timeout", "the model took longer than FIRSTREAD_EXPLAINER_TIME_LIMIT_S allows"
            )


class LanguageModel(Protocol):
    """A vision-language model, in this process or behind a server."""

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, digest of the weights ("" where a server does not tell) and device UID."""

    def answer(self, question: Question, patience: Patience) -> str:
        """The text of its answer, whatever it is.

        Raises:
            NoLongerWanted: the answer is of no use any more.
            ModelUnavailable: with a code that says why there is none.
        """
