"""A trained linear probe instead of sentences, where a site gives one.

probe.npz and probe.json beside the checkpoint, as `python -m models.training.probe` writes them: for each of its
findings a logistic regression on the image embedding, divided by its length, with a calibration. Findings that the
probe does not know are asked for by sentences.
"""

from __future__ import annotations

import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.checkpoints.manifest import digest_of
from worklist.errors import ModelUnavailable

PROBE_FILES: Final = ("probe.json", "probe.npz")
URGENT: Final = "urgent"
_CHANCE: Final = 0.5  # area under the ROC curve


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """One output: p = sigmoid(scale * logit + bias), its operating point, and whether it was better than chance."""

    key: str
    scale: float
    bias: float
    threshold: float
    is_better_than_chance: bool

    def probability(self, logit: float) -> float:
        """The calibrated probability of a logit."""
        return 0.5 + 0.5 * math.tanh((self.scale * logit + self.bias) / 2)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LinearProbe:
    """The heads: float32 mean (D,), deviation (D,), coefficients (K, D), intercepts (K,).

    sha256 is that of probe.json, which states the calibrations and the digest of the arrays.
    """

    heads: tuple[Head, ...]
    mean: npt.NDArray[np.float32]
    deviation: npt.NDArray[np.float32]
    coefficients: npt.NDArray[np.float32]
    intercepts: npt.NDArray[np.float32]
    sha256: str

    def probabilities(self, embedding: npt.NDArray[np.float32]) -> dict[str, float]:
        """The probability of each output for an image embedding (D,) of any length."""
        vector = embedding / np.linalg.norm(embedding)
        logits = (vector - self.mean) / self.deviation @ self.coefficients.T + self.intercepts
        return {head.key: head.probability(float(logit)) for head, logit in zip(self.heads, logits, strict=True)}

    def head(self, key: str) -> Head | None:
        """The head of an output; None for what it does not know."""
        return next((head for head in self.heads if head.key == key), None)


def read_probe(folder: Path, length: int) -> LinearProbe | None:
    """The probe beside a checkpoint; None where there is none.

    Args:
        folder: the checkpoint's.
        length: D, of an embedding.

    Raises:
        ModelUnavailable: probe_invalid, its files do not belong together or to this model.
    """
    document, arrays = (folder / name for name in PROBE_FILES)
    if not document.exists() and not arrays.exists():
        return None
    try:
        values = json.loads(document.read_text(encoding="utf-8"))
        found = digest_of(arrays)
        _require(values["sha256"] == found, f"it speaks of {str(values['sha256'])[:12]}, not of {found[:12]}")
        with arrays.open("rb") as content, np.load(content, allow_pickle=False) as held:
            mean, deviation, coefficients, intercepts = (
                held[name].astype(np.float32) for name in ("mean", "scale", "coef", "intercept")
            )
        heads = tuple(
            Head(
                key=str(output["key"]),
                scale=float(output["scale"]),
                bias=float(output["bias"]),
                threshold=float(output["threshold"]),
                is_better_than_chance=float(output["auc_ci95"][0]) > _CHANCE,
            )
            for output in values["outputs"]
        )
        shapes = (mean.shape, deviation.shape, coefficients.shape, intercepts.shape)
        wanted = ((length,), (length,), (len(heads), length), (len(heads),))
        _require(shapes == wanted, f"its shapes are {shapes}, for embeddings of {length}")
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise ModelUnavailable(
            "probe_invalid", f"{document} and {arrays.name} are no probe of this model ({error}): mend or remove both"
        ) from error
    return LinearProbe(
        heads=heads,
        mean=mean,
        deviation=deviation,
        coefficients=coefficients,
        intercepts=intercepts,
        sha256=digest_of(document),
    )


def _require(condition: object, fault: str) -> None:
    if not condition:
        raise ValueError(fault)
