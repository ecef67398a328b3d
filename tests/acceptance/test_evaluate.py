"""From films to figures, as a QA physicist runs it: `firstread triage --json`, then `firstread evaluate`."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pydicom
import pytest
from PIL import Image

from imaging.simulated.phantom import simulate_film
from models.embedded.scorer import WEIGHTS
from models.evaluation.films import FINDINGS
from tests.acceptance.conftest import RunningSite, film_with_effusion
from tests.bad_films import BAD_FILMS, chest

FIRSTREAD = (sys.executable, "-m", "firstread")
WITHOUT_EXTRA = "import sys; sys.modules['{}'] = None; from firstread.cli import main; main()"
JUDGED = {kind.label for kind in FINDINGS}  # labels say nothing of an opacity
DRAWN = (*FINDINGS, None, None)


def run(
    *arguments: str | Path, program: tuple[str, ...] = FIRSTREAD, environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Call the command; Python warnings would show on stderr."""
    return subprocess.run(
        [*program, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "80", "PYTHONWARNINGS": "default", **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Predictions of 16 simulated films, of a CT slice and of a blank film, and their labels."""
    folder = tmp_path_factory.mktemp("evaluate")
    films = folder / "films"
    films.mkdir()
    rows: list[dict[str, object]] = []
    for seed in range(16):
        finding = DRAWN[seed % len(DRAWN)]
        pixels = (simulate_film(seed, finding=finding, rows=400, columns=360) >> 4).astype("u1")
        Image.fromarray(pixels).save(films / f"{seed:02}.png")
        truth = {kind.label: int(kind == finding) for kind in FINDINGS}
        rows.append({"image": f"{seed:02}.dcm", "patient": seed // 2, "sex": "FM"[seed % 2], **truth})
    for name in ("ct_slice", "blank"):
        path = BAD_FILMS[name](films)
        rows.append({**rows[0], "image": path.name})
    rows.append({**rows[0], "image": "never-taken.dcm"})
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    triage = run("triage", films, "--json")
    assert triage.returncode == 0, triage.stderr
    (folder / "predictions.json").write_text(triage.stdout, encoding="utf-8")
    return folder


def evaluate(folder: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    """Call the command on the folder's predictions and labels."""
    files = ("--predictions", folder / "predictions.json", "--labels", folder / "labels.csv")
    return run("evaluate", *files, *options)


def test_what_triage_writes_is_evaluated(folder: Path) -> None:
    """Figures, calls and thresholds agree with what triage said of each film; refused films lower the coverage."""
    result = evaluate(folder, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    figures: dict[str, Any] = json.loads(result.stdout)
    films = figures["films"]
    assert (films["matched"], films["scored"], figures["patients"]) == (18, 16, 8)
    assert [len(films["abstentions"][reason]) for reason in ("out_of_scope", "failed")] == [1, 1]
    assert films["abstained_urgent"] == 2
    assert films["unmatched_labels"] == ["never-taken.dcm"]

    predictions = [film for film in json.loads((folder / "predictions.json").read_text()) if "score" in film]
    urgent = figures["targets"]["urgent"]
    scores = {int(Path(film["file"]).stem): film["score"] for film in predictions}
    positive = [score for seed, score in scores.items() if DRAWN[seed % len(DRAWN)]]
    negative = [score for seed, score in scores.items() if not DRAWN[seed % len(DRAWN)]]
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    assert (urgent["n"], urgent["positives"]) == (16, 12)
    assert urgent["auc"]["value"] == pytest.approx(wins / len(positive) / len(negative))
    point = urgent["operating_point"]
    called = sum(film["label"] == "Urgent" for film in predictions)
    assert point["true_positives"] + point["false_positives"] == called

    document = (WEIGHTS / "embedded.json").read_bytes()
    card = json.loads(document)
    model = {"name": card["name"], "version": card["version"], "sha256": hashlib.sha256(document).hexdigest()}
    assert figures["models"] == [{**model, "films": 16}]
    for output in card["outputs"]:
        threshold = None if output["key"] == "urgent" else output["threshold"]  # a flag follows from the harm
        assert figures["targets"][output["key"]]["operating_point"]["threshold"] == threshold

    listed = figures["list"]
    words = [finding["name"] for film in predictions for finding in film["findings"] if finding["named"]]
    named = [name for name in words if name in JUDGED]
    assert (listed["films"], listed["without_triage"]) == (16, 0)
    assert listed["moved"]["value"] == pytest.approx(called / 16)
    assert listed["named"]["all"]["n"] == len(named)


def test_people_get_tables_and_pictures(folder: Path) -> None:
    """Without --json there are tables that name the refused films; --plots leaves three pictures."""
    prevalences = ("--prevalence", "0.2", "--prevalence", "Pneumothorax=0.02")
    result = evaluate(folder, "--plots", folder / "plots", *prevalences)
    assert (result.returncode, result.stderr) == (0, "")
    for words in ("coverage 88.9%", "out of scope: 1", "these films", "Pneumothorax", "too few"):
        assert words in result.stdout
    for prevalence in ("0.2", "0.02"):
        assert f" {prevalence}  --prevalence " in result.stdout
    assert sorted(path.name for path in (folder / "plots").iterdir()) == ["calibration.png", "confusion.png", "roc.png"]


def test_the_table_out_of_the_pacs_is_evaluated(running: RunningSite, tmp_path: Path) -> None:
    """Films in, reports in the PACS, their table held against labels by accession number: the list's own numbers."""
    sent = [film_with_effusion(70), chest(71), chest(72)]
    bad = pydicom.dcmread(BAD_FILMS["blank"](tmp_path))
    for number, film in enumerate([*sent, bad]):
        film.AccessionNumber = f"=EVAL{number}"
    running.send([*sent, bad])
    items = running.done(4)
    with (tmp_path / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["accession_number", "effusion"])
        writer.writerows((film.AccessionNumber, int(film is sent[0])) for film in (*sent, bad))
    table = run("report", "--all", "--csv", tmp_path / "all.csv", environment=running.site.environment)
    assert table.returncode == 0, table.stderr

    result = run(
        *("evaluate", "--json", "--prevalence", "pleural_effusion=0.05"),
        *("--predictions", tmp_path / "all.csv", "--labels", tmp_path / "labels.csv"),
    )

    assert (result.returncode, result.stderr) == (0, "")
    figures: dict[str, Any] = json.loads(result.stdout)
    of_sent = [items[film.StudyInstanceUID] for film in sent]
    assert (figures["films"]["matched"], figures["films"]["scored"]) == (4, 3)
    assert figures["films"]["abstention_codes"] == {"blank_image": 1}
    listed = figures["list"]
    flagged = sum(item["urgency"] != "none" for item in of_sent)
    named = sum(finding["named"] and finding["name"] in JUDGED for item in of_sent for finding in item["findings"])
    assert (listed["flagged"]["value"], listed["moved"]["value"]) == pytest.approx((flagged / 3, flagged / 3))
    assert listed["named"]["all"]["n"] == named
    assert listed["flagged_without_reason"]["value"] == 0
    effusion = figures["targets"]["pleural_effusion"]
    assert (effusion["n"], effusion["positives"], effusion["prevalence"]["value"]) == (3, 1, 0.05)
    assert [model["sha256"] for model in figures["models"]] == [of_sent[0]["model"]["sha256"]]
    assert [policy["films"] for policy in figures["policies"]] == [3]


@pytest.mark.parametrize("module", ["sklearn", "matplotlib"])
def test_a_missing_extra_says_what_to_install(folder: Path, module: str) -> None:
    """Where scikit-learn or matplotlib is not installed, one line says how to get it."""
    files = ("--predictions", folder / "predictions.json", "--labels", folder / "labels.csv")
    result = run("evaluate", *files, program=(sys.executable, "-c", WITHOUT_EXTRA.format(module)))
    assert (result.returncode, result.stdout) == (1, "")
    assert "pip install 'firstread[evaluation]'" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_bad_input_is_one_line_and_exit_2(folder: Path) -> None:
    """A missing file, an impossible prevalence and a forgotten option each end with one line and exit 2."""
    labels, predictions = folder / "labels.csv", folder / "predictions.json"
    for arguments in (
        ("--predictions", folder / "none.json", "--labels", labels),
        ("--predictions", predictions, "--labels", labels, "--prevalence", "1"),
        ("--predictions", predictions, "--labels", labels, "--prevalence", "fracture=0.1"),
        ("--predictions", predictions),
        ("--predictions", labels, "--labels", predictions),
    ):
        result = run("evaluate", *arguments)
        assert (result.returncode, result.stdout) == (2, ""), result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("firstread: ")
