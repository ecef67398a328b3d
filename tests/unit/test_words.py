"""Numbers and lists as people read them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.words import in_a_sentence, joined, two_places


@pytest.mark.parametrize(
    ("value", "said"), [(0.0, "0.00"), (0.004, "below 0.01"), (0.49999, "0.49"), (0.5, "0.50"), (1.0, "1.00")]
)
def test_a_number_is_cut_to_two_places(value: float, said: str) -> None:
    """What is below a threshold never reads as at it, and what is small does not read as nothing."""
    assert two_places(value) == said


@given(st.floats(0, 1))
def test_a_number_never_reads_higher_than_it_is(value: float) -> None:
    """Whatever the number, its words are not above it."""
    said = two_places(value)
    assert (value < 0.01) if said == "below 0.01" else (float(said) <= value)


def test_lists_and_names_stand_inside_a_sentence() -> None:
    """Parts are joined by commas and one and; a name keeps its capital only where it begins an abbreviation."""
    assert [joined(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]
    assert in_a_sentence("Pleural effusion.") == "pleural effusion"
    assert in_a_sentence("AP projection") == "AP projection"
