"""What a site may choose, what contradicts itself, and what earlier versions called otherwise."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from firstread.secret_files import SECRETS
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
        "RETENTION_DAYS": "365",
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
    assert rules.keep_for == timedelta(days=365)


KEYS = {"AUTH": "on", "API_KEYS_FILE": "/keys"}


@pytest.mark.parametrize(
    "url",
    [
        "https://viewer.hospital:8443/open?study={study_instance_uid}&w=1",
        "weasis:?$dicom:get=st%20{study_instance_uid}",
    ],
)
def test_a_viewer_may_have_a_scheme_of_its_own(url: str) -> None:
    """An address of the web, or one that starts a program."""
    assert Settings(viewer_url=url).viewer_url == url


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
        ({"RETENTION_DAYS": "29"}, "FIRSTREAD_RETENTION_DAYS must be 0, or at least 30"),
        ({"RETENTION_DAYS": "40", "LOOKBACK_H": "984"}, "FIRSTREAD_RETENTION_DAYS must be 0, or at least 41"),
        ({"ORTHANC_URL": "http://ann:Xk29@orthanc:8042"}, "FIRSTREAD_ORTHANC_URL: must hold no login"),
        ({"AUTH": "on"}, "FIRSTREAD_AUTH=on lets nobody in"),
        ({"SITES": '{"north": ["North"]}'}, "FIRSTREAD_SITES and _SEES need FIRSTREAD_AUTH=on"),
        ({**KEYS, "SEES": '{"doctors": ["north"]}'}, "FIRSTREAD_SEES names north, which FIRSTREAD_SITES does not"),
        ({**KEYS, "SITES": '{"a": ["North"], "b": ["NORTH "]}'}, "each Institution Name is one site's"),
        ({**KEYS, "SITES": '{"a": [" "]}'}, "and none is empty"),
        ({**KEYS, "SITES": '{"a b": ["North"]}'}, "FIRSTREAD_SITES"),
        ({"AUTH": "on", "PROXY_LOGIN": "true"}, "FIRSTREAD_PROXY_LOGIN needs"),
        ({"AUTH": "on", "OIDC_ISSUER": "https://sso.hospital"}, "FIRSTREAD_OIDC_ISSUER needs FIRSTREAD_PUBLIC_URL"),
        ({"OIDC_ISSUER": "http://sso.hospital"}, "FIRSTREAD_OIDC_ISSUER: "),
        ({"PUBLIC_URL": "https://firstread.hospital/reading"}, "FIRSTREAD_PUBLIC_URL: "),
        ({"ROLE_NAMES": '{"doctors": "king"}'}, "FIRSTREAD_ROLE_NAMES (doctors): "),
        ({"VIEWER_URL": "javascript:alert('{study_instance_uid}')"}, "FIRSTREAD_VIEWER_URL: must start with"),
        ({"VIEWER_URL": "https:///{study_instance_uid}"}, "FIRSTREAD_VIEWER_URL: must start with"),
        ({"VIEWER_URL": "//viewer/{study_instance_uid}"}, "FIRSTREAD_VIEWER_URL: must start with"),
        ({"VIEWER_URL": "https://ann:pw@viewer/{study_instance_uid}"}, "FIRSTREAD_VIEWER_URL: must hold no login"),
        ({"VIEWER_URL": "https://viewer/open"}, "FIRSTREAD_VIEWER_URL: must hold {study_instance_uid} once"),
        ({"VIEWER_URL": "https://{study_instance_uid}/"}, "FIRSTREAD_VIEWER_URL: must hold {study_instance_uid} once"),
        ({"VIEWER_URL": "https://viewer/{study_instance_uid}?p={patient}"}, "FIRSTREAD_VIEWER_URL: holds characters"),
        ({"VIEWER_URL": "https://viewer/a b/{study_instance_uid}"}, "FIRSTREAD_VIEWER_URL: holds characters"),
    ],
)
def test_what_contradicts_itself_is_named(monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], named: str) -> None:
    """A setting that cannot be, alone or beside another, is refused with the variables that say so."""
    for name, value in chosen.items():
        monkeypatch.setenv(f"FIRSTREAD_{name}", value)
    with pytest.raises(InvalidInput) as refused:
        read_settings()
    assert named in refused.value.message
    assert "Xk29" not in refused.value.message, "no password is printed"


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


@pytest.mark.parametrize("setting", SECRETS)
def test_a_secret_may_lie_in_a_file(setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an orchestrator mounts it, with a line's end behind it; the environment then shows no password."""
    secret = "redis://:geheim@127.0.0.1:6379/0" if setting == "broker_url" else "sqlite:///geheim.db"
    (tmp_path / "secret").write_text(f"{secret}\n", encoding="utf-8")
    monkeypatch.setenv(f"FIRSTREAD_{setting.upper()}_FILE", str(tmp_path / "secret"))
    read = getattr(read_settings()[0], setting)
    assert (read if isinstance(read, str) else read.get_secret_value()) == secret


def test_a_secrets_file_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the variable and the path; a service that began without its password would fail later."""
    monkeypatch.setenv("FIRSTREAD_ORTHANC_PASSWORD_FILE", str(tmp_path / "none"))
    with pytest.raises(InvalidInput, match=r"FIRSTREAD_ORTHANC_PASSWORD_FILE: .*none cannot be read \(No such file"):
        read_settings()


def test_a_secret_that_is_told_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could say which of them holds."""
    (tmp_path / "secret").write_text("one", encoding="utf-8")
    (tmp_path / ".env").write_text(f"FIRSTREAD_DOORBELL_SECRET_FILE={tmp_path / 'secret'}\n", encoding="utf-8")
    assert Settings().doorbell_secret.get_secret_value() == "one"
    monkeypatch.setenv("FIRSTREAD_DOORBELL_SECRET", "another")
    with pytest.raises(InvalidInput, match="both set"):
        read_settings()
