"""The two layers of a gate's network, and how a file holds them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float32]

_KINDS = {"first": "i1", "scale": "<f4", "bias": "<f4", "last": "<f4", "last_bias": "<f4"}


class TwoLayers:
    """`max(seen @ first.T + bias, 0) @ last.T + last_bias`.

    Args:
        network: what `stored` gave.
        answers: how many numbers come out.

    Raises:
        KeyError, TypeError, ValueError: it lacks or misstates something.
    """

    def __init__(self, network: Mapping[str, Any], answers: int) -> None:
        first, scale, bias, last, last_bias = (
            np.frombuffer(base64.b64decode(network[name]), kind).astype(np.float32) for name, kind in _KINDS.items()
        )
        self._first = first.reshape(len(scale), -1) * scale[:, None]  # (hidden, inputs)
        self._bias = bias.reshape(len(scale))
        self._last = last.reshape(answers, len(scale))
        self._last_bias = last_bias.reshape(answers)

    def __call__(self, seen: Numbers) -> Numbers:
        """Answers (n, answers) to inputs (n, inputs)."""
        hidden = np.maximum(seen @ self._first.T + self._bias, 0)
        return np.asarray(hidden @ self._last.T + self._last_bias)


def stored(first: Numbers, bias: Numbers, last: Numbers, last_bias: Numbers) -> dict[str, str]:
    """The layers as a document holds them: base64, the first one as signed bytes with a scale a row."""
    scale = np.abs(first).max(axis=1) / 127
    arrays = {
        "first": np.rint(first / scale[:, None]),
        "scale": scale,
        "bias": bias,
        "last": last,
        "last_bias": last_bias,
    }
    return {
        name: base64.b64encode(arrays[name].astype(kind).tobytes()).decode("ascii") for name, kind in _KINDS.items()
    }
