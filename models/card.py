"""The card that lies beside a scorer's weights."""

from __future__ import annotations

import json
from pathlib import Path

from worklist.card import ScorerCard, card_of_json
from worklist.errors import ModelUnavailable

CARD_FILE = "card.json"


def load_card(folder: Path, *, sha256: str) -> ScorerCard:
    """The card in a folder of weights.

    Args:
        folder: where card.json lies.
        sha256: the digest of the scorer that it must speak of.

    Raises:
        ModelUnavailable: card_missing, card_invalid (no weights, no such values), or card_of_another_model.
    """
    file = folder / CARD_FILE
    try:
        card = card_of_json(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelUnavailable(
            "card_missing", f"{file} cannot be read ({error.strerror}): every scorer needs its card beside its weights"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            "card_invalid", f"{file} is no card of a scorer ({error}): mend or replace it"
        ) from error
    if card.sha256 != sha256:
        raise ModelUnavailable(
            "card_of_another_model",
            f"{file} is of another model or calibration ({card.sha256[:12]}, not {sha256[:12]}): put its card there",
        )
    return card
