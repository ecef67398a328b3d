"""`firstread settings`: what holds, what would, the change and its history, without a gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firstread.cli import app
from tests.lists import EFFUSION, NOTHING, FilledList, filled_list
from worklist.errors import InvalidInput


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FilledList]:
    """A list of two studies, in the database of the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIRSTREAD_DATABASE_URL", f"sqlite:///{tmp_path / 'firstread.db'}")
    monkeypatch.setenv("LOGNAME", "ann")
    with filled_list(tmp_path) as listed:
        listed.add(1, minutes=30, findings=NOTHING)
        listed.add(2, minutes=5, findings=EFFUSION)
        yield listed


def call(*arguments: str) -> str:
    """What the command prints."""
    result = CliRunner().invoke(app, ["settings", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_settings_are_seen_changed_and_explained(listed: FilledList) -> None:
    """In words and as JSON; whoever calls is who changed them."""
    assert "Nobody has chosen yet" in call("show")
    before = listed.uids()
    told = call("preview", "order_horizon_h=0")
    assert "2 of 2 studies on the list would stand elsewhere." in told
    assert listed.uids() == before
    answer = json.loads(call("set", "order_horizon_h=0", "modalities=CR,DX", "--why", "audit", "--json"))
    assert (answer["number"], answer["by"], answer["values"]["modalities"]) == (1, "ann", ["CR", "DX"])
    assert listed.uids() == before[::-1]
    assert "choice 1 by ann at" in call("show")
    (last, first) = json.loads(call("history", "--json"))["choices"]
    assert ([one["name"] for one in last["changes"]], first["by"]) == (["order_horizon_h", "modalities"], "Firstread")
    assert "audit" in call("history")
    assert json.loads(call("preview", "order_horizon_h=16", "--json"))["moved"] == 2


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("order_horizon_h", "is not NAME=VALUE"),
        ("order_horizon_h=many", "is no number"),
        ("order_horizon_h=-1", "from 0 to 8784"),
        ("prevalence=0.1", "there is no setting prevalence"),
    ],
)
def test_bad_usage_is_one_line(listed: FilledList, argument: str, says: str) -> None:
    """And changes nothing."""
    with pytest.raises(InvalidInput, match=says):
        call("set", argument, "--why", "a try")
    assert listed.jobs.choices() == listed.rules.start


def test_retention_shows_what_would_go_and_removes_nothing(listed: FilledList) -> None:
    """By the setting or a number to try; where neither is, it says so."""
    uid = listed.uids()[0]
    listed.change(uid, reading_state="read", how_read="by_hand", reading_until=None, reader="Somebody")
    old = datetime(2026, 1, 2, tzinfo=UTC)
    listed.change(uid, reading_since=old, received_at=old, incomplete_since=None)
    with pytest.raises(InvalidInput, match="FIRSTREAD_RETENTION_DAYS is 0"):
        CliRunner().invoke(app, ["retention"], catch_exceptions=False)
    told = CliRunner().invoke(app, ["retention", "--days", "30"], catch_exceptions=False).output
    assert "After 30 days 1 study would leave the database now: 1 read, 0 priors, 0 that left the PACS" in told
    answer = json.loads(CliRunner().invoke(app, ["retention", "--days", "30", "--json"], catch_exceptions=False).output)
    assert answer == {
        "days": 30,
        "studies": 1,
        "read": 1,
        "priors": 0,
        "left_the_pacs": 0,
        "arrived_from": "2026-01-02",
        "arrived_to": "2026-01-02",
    }
    assert len(listed.uids()) == 1
