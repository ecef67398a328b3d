"""Whether a film looks like a child's, for images whose header states no age: a PNG or JPEG has none.

A small network judges the same thumbnail as the other gates, 24 x 24 ranks of greys, upright, and its mirror image.
Its threshold refuses few adults, and so lets many children pass: models/cards/gates.md has the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.gates.layers import Numbers, TwoLayers

CHILD_WEIGHTS = Path(__file__).parent / "weights" / "child.json"


class ChildGate:
    """The network of a document.

    Args:
        document: child.json.

    Raises:
        KeyError, TypeError, ValueError: it lacks or misstates something.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._network = TwoLayers(document["network"], answers=1)
        self._threshold = float(document["threshold"])

    def logit(self, thumbnail: Numbers) -> float:
        """How much an upright frontal film looks like a child's; thumbnail is ranks, (24, 24), -1..1."""
        return float(self._network(np.stack([thumbnail.ravel(), thumbnail[:, ::-1].ravel()])).mean())

    def refuses(self, thumbnail: Numbers) -> bool:
        """Whether the film is taken for a child's."""
        return self.logit(thumbnail) >= self._threshold
