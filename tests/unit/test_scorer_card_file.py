"""The card that lies beside a scorer's weights: read whole, and refused with a reason where it cannot be trusted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.card import CARD_FILE, load_card
from models.embedded.scorer import WEIGHTS
from worklist.card import card_to_json
from worklist.errors import ModelUnavailable
from worklist.finding import FindingType
from worklist.triage import SiteChoices, TriagePolicy

SHA256 = hashlib.sha256((WEIGHTS / "embedded.json").read_bytes()).hexdigest()


def shipped() -> dict[str, Any]:
    """The shipped card's values."""
    values: dict[str, Any] = json.loads((WEIGHTS / CARD_FILE).read_text(encoding="utf-8"))
    return values


def test_the_shipped_card_is_read_whole() -> None:
    """Every value of the shipped card comes back as its file has it, and a site's policy can be made of it."""
    card = load_card(WEIGHTS, sha256=SHA256)
    assert card_to_json(card) == shipped()
    assert TriagePolicy.of(card, SiteChoices()).card == card


def test_the_shipped_card_names_nothing_that_is_not_known() -> None:
    """What the shipped card lets be named is shown, with a precision of at least one half and its films."""
    named = [found for found in load_card(WEIGHTS, sha256=SHA256).findings if found.named_from is not None]
    assert FindingType.PLEURAL_EFFUSION in {found.type for found in named}
    for found in named:
        assert found.is_shown
        assert found.precision is not None
        assert found.precision.value >= 0.5
        assert found.precision.n > 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (lambda card: [found.update(weight=0) for found in card["findings"]], "no weights"),
        (lambda card: card.update(findings=[]), "no weights"),
        (lambda card: card["findings"][0].pop("weight"), "weight"),
        (lambda card: card["findings"][0].update(weight=2), "between 0 and 1"),
        (lambda card: card["findings"][0].update(weight="much"), "not supported"),
        (lambda card: card["findings"][0].update(code="36118008"), "mapping"),
        (lambda card: card["findings"][0].update(critical_from=0.6), "precision is not known"),
        (lambda card: card.update(flag_from=0), "flag_from"),
        (lambda card: card.update(reference_harms=[0.2, 0.1]), "rise"),
    ],
    ids=[
        "weights of zero",
        "no findings",
        "no weight",
        "a weight of two",
        "a weight in words",
        "half a code",
        "critical at an unknown precision",
        "flags all",
        "falling quantiles",
    ],
)
def test_a_card_that_contradicts_itself_is_refused(
    tmp_path: Path, changes: Callable[[dict[str, Any]], object], said: str
) -> None:
    """A card without weights, or with values that no card has, is refused by one line that names its file."""
    card = shipped()
    changes(card)
    (tmp_path / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelUnavailable, match=said) as refused:
        load_card(tmp_path, sha256=SHA256)
    assert refused.value.code == "card_invalid"
    assert str(tmp_path / CARD_FILE) in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '"card"', "\xff"])
def test_a_file_that_is_no_card_is_refused(tmp_path: Path, content: str) -> None:
    """What is no JSON, or JSON of something else, is refused as a card, not as an accident."""
    (tmp_path / CARD_FILE).write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelUnavailable) as refused:
        load_card(tmp_path, sha256=SHA256)
    assert refused.value.code == "card_invalid"


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    """Weights without a card give nothing that a site could go by: the message says where it should lie."""
    with pytest.raises(ModelUnavailable) as refused:
        load_card(tmp_path, sha256=SHA256)
    assert refused.value.code == "card_missing"
    assert str(tmp_path / CARD_FILE) in refused.value.message


def test_the_card_of_other_weights_is_refused() -> None:
    """Figures of one network are never taken for those of another."""
    with pytest.raises(ModelUnavailable) as refused:
        load_card(WEIGHTS, sha256="0" * 64)
    assert refused.value.code == "card_of_another_model"
