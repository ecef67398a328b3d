"""Ten thousand odd inputs: each is taken, or refused by one of our own errors; `make fuzz` makes an hour of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.fuzz.gateway import GATEWAY_TARGETS
from tests.fuzz.run import be_silent, run
from tests.fuzz.targets import TARGETS, Target

SEED = 14
INPUTS = {
    "pixels": 3000,
    "pictures": 1500,
    "headers": 3000,
    "uploads": 300,
    "reports": 200,
    "changes": 200,
    "studies": 150,
    "QIDO": 500,
    "UPS": 200,
    "UPS search": 100,
    "predict": 250,
    "doorbell": 600,
}


def test_there_are_ten_thousand_inputs() -> None:
    """Every place gets some."""
    assert sum(INPUTS.values()) == 10_000
    assert {target.name for target in (*TARGETS, *GATEWAY_TARGETS)} == set(INPUTS)


@pytest.fixture
def silent() -> Iterator[None]:
    """Nothing is logged meanwhile."""
    be_silent()
    yield
    structlog.reset_defaults()
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(1200)  # of seconds that a test takes alone, on a machine that does much else
@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("target", [*TARGETS, *GATEWAY_TARGETS], ids=lambda target: target.name)
def test_an_odd_input_is_taken_or_refused_by_name(target: Target) -> None:
    """Nothing else is raised, no warning is given, and no answer is 500."""
    outcomes = list(run(target, SEED, range(INPUTS[target.name])))
    faults = {outcome.fault: outcome.number for outcome in outcomes if outcome.fault}
    assert not faults
    assert len({outcome.is_refused for outcome in outcomes}) > 1 or target in GATEWAY_TARGETS
