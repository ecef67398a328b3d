"""The sentences that a film is held against, and everything else that is chosen rather than learned.

prompts.json has a pair of sentences for each finding, one for its presence and one for its absence. The probability is
a softmax over the pair, which is the logistic function of the difference of their logits, then Platt's calibration:

    logit = exp(logit_scale) * (cos(image, present) - cos(image, absent))
    p = sigmoid(scale * logit + bias)

`resize` says how a film becomes a square of the model's size. Two ways are published and give other numbers:
"bicubic", antialiased, is that of the checkpoint's own processor; "bilinear", not antialiased, is that of the notebook
that reproduces the published evaluations. A site's own file lies beside the checkpoint.

No sentence pairs for chest films are published with this model. Those for pneumothorax, effusion, edema and
consolidation are the ones published with CXR Foundation, its predecessor; the others are ours, unmeasured.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from worklist.errors import ModelUnavailable
from worklist.finding import KNOWN_FINDINGS, Code, FindingType

PROMPTS_FILE: Final = "prompts.json"
SHIPPED: Final = Path(__file__).parent / PROMPTS_FILE

Resize = Literal["bicubic", "bilinear"]
_RESIZES: Final = ("bicubic", "bilinear")
_MAX_CHARACTERS: Final = 200  # 64 tokens are about as many; what is beyond them the model would never see


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptPair:
    """How one finding is asked for.

    Attributes:
        type: the finding.
        present, absent: the sentences.
        weight: harm of waiting with it, 0 to 1.
        threshold: probability from which it counts as there.
        scale, bias: calibration of the pair's logit; 1 and 0 where there is none.
        has_boxes: whether it lies somewhere, so that a box can be drawn around it.
    """

    type: FindingType
    present: str
    absent: str
    weight: float
    threshold: float
    scale: float
    bias: float
    has_boxes: bool

    def __post_init__(self) -> None:
        """Refuse what asks for nothing, or cannot be a probability."""
        for sentence in (self.present, self.absent):
            if not sentence.strip() or len(sentence) > _MAX_CHARACTERS:
                raise ValueError(f"{self.type.key} needs two sentences of 1 to {_MAX_CHARACTERS} characters")
        if self.present == self.absent:
            raise ValueError(f"{self.type.key} has the same sentence twice")
        if not (0 <= self.weight <= 1 and 0 <= self.threshold <= 1):
            raise ValueError(f"weight and threshold of {self.type.key} lie between 0 and 1")
        if not (self.scale > 0 and math.isfinite(self.scale) and math.isfinite(self.bias)):
            raise ValueError(f"the scale of {self.type.key} is above 0, and its bias a number")

    def probability(self, logit: float) -> float:
        """The calibrated probability of a pair's logit."""
        return 0.5 + 0.5 * math.tanh((self.scale * logit + self.bias) / 2)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSet:
    """A versioned file of pairs.

    Attributes:
        version: as it says.
        sha256: of the file.
        resize: how a film is made smaller.
        flag_from: harm from which a study is flagged.
        pairs: one a finding.
        not_looked_for: what a reader might expect and no pair asks for, in plain words.
    """

    version: str
    sha256: str
    resize: Resize
    flag_from: float
    pairs: tuple[PromptPair, ...]
    not_looked_for: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse a set without pairs, with two of a kind, or with an unknown way to resize."""
        keys = [pair.type.key for pair in self.pairs]
        if not keys or len(set(keys)) < len(keys):
            raise ValueError("it needs at least one finding, and each once")
        if self.resize not in _RESIZES:
            raise ValueError(f"resize is {' or '.join(_RESIZES)}, not {self.resize!r}")
        if not 0 < self.flag_from < 1:
            raise ValueError(f"flag_from lies between 0 and 1, got {self.flag_from}")

    @property
    def sentences(self) -> tuple[tuple[str, str], ...]:
        """(present, absent) of each pair."""
        return tuple((pair.present, pair.absent) for pair in self.pairs)


def read_prompts(folder: Path) -> PromptSet:
    """The site's own sentences beside a checkpoint, or the shipped ones.

    Raises:
        ModelUnavailable: prompts_invalid.
    """
    own = folder / PROMPTS_FILE
    file = own if own.exists() else SHIPPED
    try:
        content = file.read_bytes()
        values = json.loads(content)
        return PromptSet(
            version=str(values["version"]),
            sha256=hashlib.sha256(content).hexdigest(),
            resize=values["resize"],
            flag_from=float(values["flag_from"]),
            pairs=tuple(_pair(entry) for entry in values["findings"]),
            not_looked_for=tuple(map(str, values["not_looked_for"])),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelUnavailable(
            "prompts_invalid", f"{file} is no file of prompts ({type(error).__name__}: {error}): mend or remove it"
        ) from error


def _pair(values: Mapping[str, Any]) -> PromptPair:
    key = str(values["key"])
    kind = KNOWN_FINDINGS.get(key) or FindingType(key=key, code=Code(**values["code"]), label=str(values["label"]))
    return PromptPair(
        type=kind,
        present=str(values["present"]),
        absent=str(values["absent"]),
        weight=float(values["weight"]),
        threshold=float(values["threshold"]),
        scale=float(values["scale"]),
        bias=float(values["bias"]),
        has_boxes=bool(values["has_boxes"]),
    )
