"""What a site may choose, what contradicts itself, and what earlier versions called otherwise."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from firstread.settings import Settings, read_settings
from worklist.errors import InvalidInput
from worklist.site import SiteRules


@pytest.fixture(autouse=True)
def _no_env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Away from a developer's own .env."""
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_those_of_the_domain() -> None:
    """A site that chooses nothing gets what the rules themselves take for usual."""
    assert read_settings() == (Settings(), [])
    assert Settings().site_rules == SiteRules()


def test_every_choice_reaches_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours, minutes, days and percent become what the rules count in."""
    chosen = {
        "ORDER_HORIZON_H": "8",
        "ORDER_STEEPNESS": "2",
        "LEAST_HEAD_START_MIN": "10",
        "HIGH_HEAD_START_H": "1.5",
        "ALERT_BUDGET_PERCENT": "5",
        "WEIGHTS": '{"cardiomegaly": 0.1}',
        "PRIOR_AFTER_DAYS": "90",
        "TARGET_WAIT_H": "12",
        "READING_LEASE_MIN": "20",
        "QUIET_S": "2.5",
        "REPORT_OUT_OF_SCOPE": "false",
    }
    for name, value in chosen.items():
        monkeypatch.setenv(f"FIRSTREAD_{name}", value)
    rules = read_settings()[0].site_rules
    assert (rules.triage.horizon, rules.triage.steepness) == (timedelta(hours=8), 2.0)
    assert (rules.triage.least_head_start, rules.triage.high_head_start) == (
        timedelta(minutes=10),
        timedelta(hours=1.5),
    )
    assert (rules.triage.alert_budget, rules.triage.weights) == (0.05, {"cardiomegaly": 0.1})
    assert (rules.prior_after, rules.target_wait) == (timedelta(days=90), timedelta(hours=12))
    assert (rules.reading_lease, rules.quiet) == (timedelta(minutes=20), timedelta(seconds=2.5))
    assert rules.report_out_of_scope is False


def test_zero_days_take_no_study_for_a_prior() -> None:
    """A site may have every study on its list, however old."""
    assert Settings(prior_after_days=0).site_rules.prior_after is None


def test_no_horizon_leaves_the_order_to_arrival() -> None:
    """A horizon of zero contradicts no head start: nothing moves at all."""
    assert Settings(order_horizon_h=0).site_rules.triage.horizon == timedelta(0)


@pytest.mark.parametrize(
    ("chosen", "named"),
    [
        ({"LEAST_HEAD_START_MIN": "960"}, "FIRSTREAD_LEAST_HEAD_START_MIN=960"),
        ({"HIGH_HEAD_START_H": "17"}, "FIRSTREAD_HIGH_HEAD_START_H=17"),
        ({"ORDER_HORIZON_H": "0.5"}, "FIRSTREAD_ORDER_HORIZON_H=0.5"),
        ({"ORDER_HORIZON_H": "inf"}, "FIRSTREAD_ORDER_HORIZON_H: "),
        ({"ORDER_STEEPNESS": "nan"}, "FIRSTREAD_ORDER_STEEPNESS: "),
        ({"ALERT_BUDGET_PERCENT": "0"}, "FIRSTREAD_ALERT_BUDGET_PERCENT: "),
        ({"WEIGHTS": '{"cardiomegaly": 1.5}'}, "FIRSTREAD_WEIGHTS (cardiomegaly): "),
        ({"WEIGHTS": "cardiomegaly"}, "FIRSTREAD_WEIGHTS: "),
        ({"TRUSTED_PROXIES": "10.0.0.1"}, "trusted_proxies"),
        ({"LOOKBACK_H": "1e9"}, "FIRSTREAD_LOOKBACK_H: "),
    ],
)
def test_what_contradicts_itself_is_named(monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], named: str) -> None:
    """A setting that cannot be, alone or beside another, is refused with the variables that say so."""
    for name, value in chosen.items():
        monkeypatch.setenv(f"FIRSTREAD_{name}", value)
    with pytest.raises(InvalidInput) as refused:
        read_settings()
    assert named in refused.value.message


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_a_variable_that_is_gone_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    """What an earlier version read is named with what replaces it, once, wherever it is still set."""
    if place == ".env":
        (tmp_path / ".env").write_text("FIRSTREAD_PREVALENCE=0.1\n", encoding="utf-8")
    else:
        monkeypatch.setenv("FIRSTREAD_PREVALENCE", "0.1")
    (line,) = read_settings()[1]
    assert "FIRSTREAD_PREVALENCE" in line
    assert "FIRSTREAD_ALERT_BUDGET_PERCENT" in line


@pytest.mark.parametrize(
    "gone", ["URGENT_THRESHOLD", "CRITICAL_THRESHOLD", "CRITICAL_FINDINGS", "CRITICAL_FINDING_THRESHOLD"]
)
def test_thresholds_are_the_cards(monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    """No threshold is the site's to set any more, and whoever still sets one is told."""
    monkeypatch.setenv(f"FIRSTREAD_{gone}", "0.5")
    (line,) = read_settings()[1]
    assert line.startswith(f"FIRSTREAD_{gone} ")


@pytest.mark.parametrize("url", ["http://firstread:SECRETPW@pacs:8042", "https://SECRETPW@pacs/orthanc"])
def test_a_login_in_the_address_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """The address is shown to everybody, so that a password in it would be too; the refusal does not tell it."""
    monkeypatch.setenv("FIRSTREAD_ORTHANC_URL", url)
    with pytest.raises(InvalidInput, match="FIRSTREAD_ORTHANC_PASSWORD") as refused:
        read_settings()
    assert "SECRETPW" not in str(refused.value)
    monkeypatch.setenv("FIRSTREAD_ORTHANC_URL", "http://pacs:8042/of/a@b")
    assert read_settings()[0].orthanc_url.endswith("a@b")


def test_a_language_server_needs_an_address() -> None:
    """The choice of a server without saying where it is is refused, by both names."""
    with pytest.raises(ValidationError, match="FIRSTREAD_EXPLAINER=openai needs FIRSTREAD_EXPLAINER_URL"):
        Settings(explainer="openai")
    assert Settings(explainer="openai", explainer_url="http://127.0.0.1:8000").explainer_model == "medgemma"


def test_a_language_model_leaves_time_for_the_report() -> None:
    """Its limit lies below that of the whole report, whose process would be killed with the words in it."""
    with pytest.raises(ValidationError, match="60 below FIRSTREAD_REPORT_TIME_LIMIT_S"):
        Settings(explainer="medgemma", report_time_limit_s=330)
    assert Settings(report_time_limit_s=330).explainer == "template"
