"""What may be chosen at run time, by name and unit, and what is refused in one clear line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firstread.settings import Settings
from tests.records import scorer_card
from worklist.choices import NAMES, Choices, check_against, choices_of_document, one_line
from worklist.errors import InvalidInput
from worklist.finding import FindingType
from worklist.triage import SiteChoices, TriagePolicy, assess

CARD = scorer_card(pneumothorax=0.9)


@pytest.mark.parametrize(
    ("values", "code", "says"),
    [
        ({"order_horizon_h": -1}, "bad_value", "order_horizon_h must be a number from 0 to 8784, got -1"),
        ({"order_steepness": 0}, "bad_value", "above 0 and at most 100"),
        ({"order_steepness": math.nan}, "bad_value", "got nan"),
        ({"order_steepness": True}, "bad_value", "got True"),
        ({"flag_from": 1}, "bad_value", "from 0.01 to 0.99"),
        ({"weights": [1]}, "bad_value", "numbers by finding"),
        ({"weights": {"cardiomegaly": "much"}}, "bad_value", "weights of cardiomegaly must be a number from 0 to 1"),
        ({"weights": {"scoliosis": 0.5}}, "unknown_finding", "no scorer here looks for scoliosis; known: pneumothorax"),
        ({"weights": {found.type.key: 0 for found in CARD.findings}}, "no_weights", "give at least one"),
        ({"named_from": {"pleural_effusion": 0.5}}, "below_the_card", "0.5 for Pleural effusion is below the card's"),
        ({"critical_from": {"cardiomegaly": 0.9}}, "below_the_card", "Cardiomegaly is never called critical"),
        ({"least_head_start_min": 1000}, "contradiction", "must be shorter than the longest"),
        ({"modalities": []}, "bad_value", "name at least one"),
        ({"chest_words": ["\n"]}, "bad_value", "each is a word"),
        ({"prior_raises": "yes"}, "bad_value", "true or false"),
        ({"prevalence": 0.1}, "unknown_setting", "there is no setting prevalence: choose from order_horizon_h"),
    ],
)
def test_what_cannot_be_chosen(values: Mapping[str, Any], code: str, says: str) -> None:
    """One line says what is wrong."""
    with pytest.raises(InvalidInput, match=says) as refusal:
        check_against(Choices().changed(values), [CARD])
    assert (refusal.value.code, "\n" in refusal.value.message) == (code, False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order_horizon_h", 0),
        ("order_horizon_h", 8784),
        ("order_horizon_h", 8785),
        ("order_steepness", 100.0),
        ("order_steepness", 100.1),
        ("order_steepness", 0),
        ("least_head_start_min", 527_041),
        ("high_head_start_h", 8785),
        ("high_head_start_h", -0.1),
        ("alert_budget_percent", 0),
        ("alert_budget_percent", 100),
        ("alert_budget_percent", 101),
    ],
)
def test_the_environment_and_a_choice_have_the_same_limits(name: str, value: float) -> None:
    """What one takes the other takes, and what one refuses the other refuses."""

    def is_taken(take: Any) -> bool:  # noqa: ANN401 - either
        try:
            take()
        except (ValueError, InvalidInput):
            return False
        return True

    by_choice = is_taken(lambda: Choices().changed({name: value}))
    assert by_choice == is_taken(lambda: Settings.model_validate({name: value}))


NUMBERS = {
    "order_horizon_h": st.floats(10, 1000),
    "order_steepness": st.floats(0.01, 100),
    "least_head_start_min": st.floats(1, 500),
    "high_head_start_h": st.floats(0, 9),
    "alert_budget_percent": st.integers(1, 100),
    "flag_from": st.none() | st.floats(0.01, 0.99),
    "weights": st.dictionaries(st.sampled_from([found.type.key for found in CARD.findings]), st.floats(0, 1)),
    "chest_words": st.lists(st.sampled_from(["Thorax", "Lunge"])),
    "prior_raises": st.booleans(),
}


@given(st.fixed_dictionaries({}, optional=NUMBERS))
def test_choices_survive_their_document(values: Mapping[str, Any]) -> None:
    """Read back they are the same, value by value."""
    choices = Choices().changed(values)
    again = choices_of_document(choices.to_document())
    assert again == choices
    assert set(choices.to_values()) == set(NAMES)
    assert again.to_values() == choices.to_values()


def test_a_site_raises_thresholds_and_never_lowers_them(make_analysis: Any) -> None:  # noqa: ANN401 - a fixture
    """Above the card's a finding is neither named nor critical until it reaches them; the policy tells of it."""
    found = make_analysis(0.9, {FindingType.PNEUMOTHORAX: 0.92, FindingType.PLEURAL_EFFUSION: 0.7})
    site = SiteChoices(named_from={"pleural_effusion": 0.8}, critical_from={"pneumothorax": 0.95})
    by_card, by_site = TriagePolicy.of(CARD, SiteChoices()), TriagePolicy.of(CARD, site)
    assert [str(assess(found, by).urgency) for by in (by_card, by_site)] == ["critical", "urgent"]
    assert [len(assess(found, by).named) for by in (by_card, by_site)] == [2, 1]
    assert TriagePolicy.from_json(by_site.to_json()) == by_site
    assert by_site.digest != by_card.digest
    low = SiteChoices(named_from={"pleural_effusion": 0.1}, critical_from={"cardiomegaly": 0.1, "scoliosis": 0.1})
    assert low.known_to(CARD) == SiteChoices()


@pytest.mark.parametrize(("why", "code"), [("", "no_reason"), (" \n", "no_reason"), ("x" * 301, "bad_reason")])
def test_nobody_chooses_without_a_reason(why: str, code: str) -> None:
    """It stands in the history for whoever asks later."""
    with pytest.raises(InvalidInput) as refusal:
        one_line(why)
    assert refusal.value.code == code
