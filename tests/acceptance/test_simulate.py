"""`firstread simulate`, as a QA physicist runs it: tables, JSON, pictures, and one line for whatever cannot be."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from worklist.simulation.orders import Order

SMALL = ("--days", "7", "--films-per-day", "60")

pytestmark = pytest.mark.timeout(3600)  # simulations on a machine that may have much else to do


def run(*arguments: str | Path, prelude: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Call the command."""
    program = f"import sys; {prelude}from firstread.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, "simulate", *map(str, arguments)],
        env={**os.environ, "COLUMNS": "80", "PYTHONWARNINGS": "default", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def figures(*arguments: str | Path, **environment: str) -> dict[str, Any]:
    """What --json prints."""
    result = run(*arguments, "--json", **environment)
    assert (result.returncode, result.stderr) == (0, "")
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def mean(found: dict[str, Any], order: Order, group: str) -> float:
    """The mean wait of a group."""
    value: float = found["orders"][order]["groups"][group]["mean_min"]["value"]
    return value


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of 200 films with well-seen effusions, and their labels."""
    folder, rng = tmp_path_factory.mktemp("simulate"), random.Random(1)  # noqa: S311 - seeded
    keys = ("pneumothorax", "pleural_effusion", "consolidation", "pneumonia", "cardiomegaly", "pulmonary_edema")
    predictions, labels = [], []
    for number in range(200):
        is_ill = number % 5 == 0
        film = {"file": f"{number}.png", "patient": number // 2}
        labels.append(film | dict.fromkeys(keys, 0) | {"pleural_effusion": int(is_ill)})
        effusion = rng.uniform(0.5, 0.9) if is_ill else rng.uniform(0.0, 0.3)
        predictions.append(film | dict.fromkeys(keys, 0.01) | {"pleural_effusion": round(effusion, 3)})
    for name, rows in (("predictions", predictions), ("labels", labels)):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def test_tables_and_json_say_the_same() -> None:
    """Each group has each order, in a terminal of 80 columns, and another run says the same."""
    shown, found = run(*SMALL), figures(*SMALL)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert shown.stdout.count("Firstread") >= len(found["orders"]["firstread"]["groups"])
    assert f"{mean(found, Order.FIRST_COME, 'all'):.0f}" in shown.stdout
    assert list(found["orders"]) == list(Order)
    assert found == figures(*SMALL)


def test_the_sites_choices_count() -> None:
    """With H of 0 the shipped order is that of arrival; a finding that is supposed to be seen well is moved."""
    none = figures(*SMALL, FIRSTREAD_ORDER_HORIZON_H="0", FIRSTREAD_HIGH_HEAD_START_H="0")
    assert mean(none, Order.FIRSTREAD, "sick") == mean(none, Order.FIRST_COME, "sick")
    supposed = figures(*SMALL, "--roc", "pneumothorax=0.9/0.97")
    assert mean(supposed, Order.FIRSTREAD, "pneumothorax") < mean(supposed, Order.FIRST_COME, "pneumothorax")
    assert any("Supposed, not measured" in note for note in supposed["notes"])


def test_films_are_drawn_from_files(folder: Path, tmp_path: Path) -> None:
    """Predictions and labels, times of arrival, and pictures; a prevalence is met."""
    times = tmp_path / "times.csv"
    times.write_text("received_at\n" + "".join(f"2026-03-0{day}T{hour:02}:{minute:02}\n" for day in range(2, 7)
                     for hour in range(7, 19) for minute in range(0, 60, 7)), encoding="utf-8")  # fmt: skip
    found = figures(
        *("--predictions", folder / "predictions.csv", "--labels", folder / "labels.csv", "--arrivals", times),
        *(
            "--prevalence",
            "pleural_effusion=0.1",
            "--readers",
            "daily 07-22 1",
            "--plots",
            tmp_path / "p",
        ),
    )
    groups = found["orders"][Order.FIRSTREAD]["groups"]
    assert groups["all"]["studies"] == 5 * (5 * 12 * 9)
    assert groups["pleural_effusion"]["studies"] == pytest.approx(270, rel=0.3)
    assert groups["flagged"]["mean_min"]["value"] < mean(found, Order.FIRST_COME, "flagged")
    assert sorted(file.name for file in (tmp_path / "p").iterdir()) == [
        "mean-wait.png",
        "over-an-hour.png",
        "p95-wait.png",
        "worst-wait.png",
    ]
    for file in (tmp_path / "p").iterdir():
        with Image.open(file) as picture:
            assert picture.width > 1000


def test_without_labels_it_says_what_is_supposed(folder: Path) -> None:
    """Two sentences: films are drawn by their probabilities, and whose card is taken."""
    found = figures(*SMALL, "--predictions", folder / "predictions.csv")
    assert any("takes the model at its word" in note for note in found["notes"])
    assert any("No card of this model ships" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--films-per-day", "500"), "more arrives than can be read"),
        (("--films-per-day", "nan"), "films arrive at a rate above 0"),
        (("--readers", "now and then"), "is no shift"),
        (("--seeds", "4"), "5 to 1000 seeds are needed"),
        (("--roc", "pneumothorax=2"), "write pneumothorax=0.9 for an AUC"),
        (("--roc", "mass=0.9"), "does not look for mass"),
        (("--prevalence", "0.1"), "name the finding whose prevalence it is"),
        (("--labels", "labels.csv"), "name both"),
        (("--predictions", "none.csv"), "none.csv is no readable text file"),
        (("--predictions", "predictions.csv", "--roc", "pneumothorax=0.9"), "choose one"),
        (("--predictions", "predictions.csv", "--prevalence", "pneumothorax=0.1"), "needs labels"),
        (("--arrivals", "bad.csv"), "bad.csv line 3 has 'yesterday' for a time"),
        (("--arrivals", "bad.csv", "--days", "3"), "leave --films-per-day and --days out"),
        (("--flag-from", "1"), "flag_from must lie between 0 and 1"),
        (("--stat-percent", "100"), "share of STAT orders"),
        (("--longest-wait-h", "0"), "--longest-wait-h"),
    ],
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...], said: str, folder: Path) -> None:
    """Exit 2, nothing on stdout, one line that says what to do."""
    (folder / "bad.csv").write_text("received_at\n2026-03-02T10:00\nyesterday\n", encoding="utf-8")
    result = run(*(folder / each if each.endswith(".csv") else each for each in arguments))
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr


def test_pictures_need_the_extra(tmp_path: Path) -> None:
    """Without matplotlib --plots says so before anything is simulated, and everything else works."""
    without = "sys.modules['matplotlib'] = None; sys.modules['matplotlib.axes'] = None; "
    result = run(*SMALL, "--plots", tmp_path, prelude=without)
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert "pip install 'firstread[evaluation]'" in result.stderr
    assert run(*SMALL, prelude=without).returncode == 0
