"""What is known of the models that ship with Firstread, by their digest; no model is loaded for it.

The digest is that of the JSON beside the weights, which states theirs: one over weights and calibration together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from models.card import CARD_FILE, load_card
from worklist.card import ScorerCard
from worklist.errors import ModelUnavailable

_MODELS = Path(__file__).parents[1]


@lru_cache
def shipped_card(sha256: str) -> ScorerCard | None:
    """The card of a model that ships; None for any other."""
    for file in _MODELS.glob(f"*/weights/{CARD_FILE}"):
        try:
            return load_card(file.parent, sha256=sha256)
        except ModelUnavailable:
            continue
    return None


def shipped_thresholds(sha256: str) -> Mapping[str, float]:
    """The operating points of a model that ships, by output; none for any other."""
    return {key: float(output["threshold"]) for key, output in _outputs(sha256).items()}


def shipped_aucs(sha256: str) -> Mapping[str, float]:
    """The areas under the ROC curves that were measured of a model that ships, by output; none for any other."""
    return {key: float(output["auc"]) for key, output in _outputs(sha256).items() if output.get("auc") is not None}


def scorer_card(scorer: str, folder: Path | None = None) -> ScorerCard:
    """The card of a scorer's weights.

    Args:
        scorer: its name in the settings.
        folder: where its weights lie; None for those that ship.

    Raises:
        ModelUnavailable: there are none, or their card is none or another's.
    """
    folder = folder or _MODELS / scorer / "weights"
    file = folder / f"{scorer}.json"
    try:
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelUnavailable(
            "model_missing", f"{file} does not say which weights these are ({error}): put the model there"
        ) from error
    return load_card(folder, sha256=sha256)


@lru_cache
def _outputs(sha256: str) -> Mapping[str, Mapping[str, Any]]:
    for sidecar in sorted(_MODELS.glob("*/weights/*.json")):
        content = sidecar.read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            document = json.loads(content)
            beside = document.get("sharp", {"outputs": []})
            return {output["key"]: output for output in (*document["outputs"], *beside["outputs"])}
    return {}
