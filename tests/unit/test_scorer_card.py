"""The card of a scorer: what may be said of its outputs, and what it must hold."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from tests.records import scorer_card
from worklist.card import FindingCard, Precision, ScorerCard, card_of_json, card_to_json
from worklist.finding import Code, Finding, FindingType

EFFUSION = FindingCard(
    type=FindingType.PLEURAL_EFFUSION, weight=0.8, named_from=0.6, precision=Precision(value=0.7, n=100)
)


def effusion(probability: float) -> Finding:
    """A pleural effusion."""
    return Finding(type=FindingType.PLEURAL_EFFUSION, probability=probability, threshold=0.5)


@pytest.mark.parametrize(
    ("card", "probability", "may_name"),
    [
        (EFFUSION, 0.6, True),
        (EFFUSION, math.nextafter(0.6, 0), False),
        (replace(EFFUSION, named_from=None), 1.0, False),
        (replace(EFFUSION, precision=None), 1.0, False),
        (replace(EFFUSION, precision=Precision(value=0.5, n=8)), 0.6, True),
        (replace(EFFUSION, precision=Precision(value=0.49, n=8)), 1.0, False),
        (replace(EFFUSION, is_shown=False), 1.0, False),
    ],
)
def test_a_finding_is_named_where_half_of_such_words_are_right(
    card: FindingCard,
    probability: float,
    may_name: bool,  # noqa: FBT001 - expected
) -> None:
    """From the threshold on at which its precision is known, and at least one half."""
    assert card.may_name(effusion(probability)) is may_name


@pytest.mark.parametrize(("precision", "word"), [(0.5, "possible"), (0.66, "possible"), (0.67, "likely")])
def test_the_word_is_as_strong_as_the_precision(precision: float, word: str) -> None:
    """Likely where two thirds are right, possible below."""
    assert replace(EFFUSION, precision=Precision(value=precision, n=9)).likelihood == word


def test_a_critical_threshold_needs_a_known_precision() -> None:
    """Nobody is called critical at a threshold of which it is not known how often that is right."""
    with pytest.raises(ValueError, match=r"pneumothorax is critical from 0.9, but its precision is not known"):
        FindingCard(type=FindingType.PNEUMOTHORAX, weight=1, critical_from=0.9)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_weights_and_thresholds_lie_between_0_and_1(value: float) -> None:
    """Each of the three is refused outside, by the finding's name."""
    known = Precision(value=0.6, n=50)
    with pytest.raises(ValueError, match="pleural_effusion"):
        replace(EFFUSION, weight=value)
    with pytest.raises(ValueError, match="pleural_effusion"):
        replace(EFFUSION, named_from=value)
    with pytest.raises(ValueError, match="pleural_effusion"):
        replace(EFFUSION, critical_from=value, critical_precision=known)
    with pytest.raises(ValueError, match="a precision is a share"):
        Precision(value=value, n=50)


@pytest.mark.parametrize(
    "findings",
    [(), (replace(EFFUSION, weight=0.0),), (replace(EFFUSION, is_shown=False),)],
    ids=["none", "0", "hidden"],
)
def test_a_card_without_weights_is_refused(findings: tuple[FindingCard, ...]) -> None:
    """A scorer of which nothing counts can order nothing."""
    with pytest.raises(ValueError, match="the card of a model has no weights"):
        replace(scorer_card(), findings=findings)


@pytest.mark.parametrize("flag_from", [0.0, 1.0, math.nan])
def test_a_card_flags_from_a_harm_between_0_and_1(flag_from: float) -> None:
    """Flagging everything or nothing is no threshold."""
    with pytest.raises(ValueError, match="flag_from"):
        scorer_card(flag_from=flag_from)


def test_quantiles_must_rise() -> None:
    """A card whose reference is out of order was made wrongly."""
    with pytest.raises(ValueError, match="quantiles"):
        replace(scorer_card(), reference_harms=(0.2, 0.1))


def test_a_card_survives_its_file() -> None:
    """As JSON and back it is the same, intervals, unknown kinds of finding and missing precisions included."""
    foreign = FindingType(
        key="rib_fracture", code=Code(value="33737001", scheme="SCT", meaning="Fracture of rib"), label="Rib fracture"
    )
    card = replace(
        scorer_card(pneumothorax=0.9),
        findings=(
            FindingCard(type=foreign, weight=0.3, precision=Precision(value=0.5, n=20, interval=(0.3, 0.7))),
            *scorer_card(pneumothorax=0.9).findings,
        ),
    )
    assert card_of_json(json.loads(json.dumps(card_to_json(card)))) == card


def test_a_card_says_what_it_finds_and_what_not() -> None:
    """What is not shown to be better than chance is named as such, and can make nobody critical."""
    card = scorer_card()
    assert card.unreliable == (FindingType.PULMONARY_EDEMA,)
    assert FindingType.PULMONARY_EDEMA not in card.looked_for
    assert len(card.looked_for) == 5
    assert not card.can_be_critical
    assert scorer_card(pneumothorax=0.9).can_be_critical
    assert not scorer_card(pulmonary_edema=0.9).can_be_critical
    assert card.of(FindingType.CARDIOMEGALY) is not None
    assert card.of(FindingType.NODULE) is None


def test_a_finding_is_known_by_its_key() -> None:
    """However another model words it."""
    card: ScorerCard = scorer_card()
    same = FindingType(key="cardiomegaly", code=Code(value="x", scheme="99X", meaning="Big heart"), label="Big heart")
    assert card.of(same) == card.of(FindingType.CARDIOMEGALY)
