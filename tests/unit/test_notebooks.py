"""The notebooks run from top to bottom, on simulated films, and hold no outputs.

That of fine-tuning runs with the other tests of the probe, in test_tuning_medsiglip.py.
"""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.notebooks import NOTEBOOKS, cells_of, run_notebook
from worklist.finding import DISCLAIMER


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a notebook leaves its files."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_no_notebook_holds_outputs() -> None:
    """Outputs may hold films and names, and go out of date: there are none."""
    names = sorted(file.name for file in NOTEBOOKS.glob("*.ipynb"))
    assert names == ["01_quickstart.ipynb", "02_fine_tune.ipynb", "03_evaluation.ipynb"]
    for cell in (cell for name in names for cell in cells_of(name)):
        assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_the_quick_start_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """Films become flags and words, with the disclaimer."""
    run_notebook("01_quickstart.ipynb")
    printed = " ".join(capsys.readouterr().out.split())
    assert "007.png" in printed
    assert "Not a diagnosis. Research use. Unverified AI output." in printed


def test_the_evaluation_runs_and_leaves_a_table_to_be_rated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures are printed; of ten films there are words, film and crops, and columns for the reader."""
    run_notebook("03_evaluation.ipynb")
    assert "AUC" in capsys.readouterr().out
    with (folder / "evaluation" / "ratings.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 10
    assert all(row["explanation"] and not row["rating 1 to 5"] for row in rows)
    assert {row["notice"] for row in rows} == {DISCLAIMER}
    pictures = [picture for row in rows for picture in row["pictures"].split()]
    assert all((folder / "evaluation" / "samples" / picture).stat().st_size for picture in pictures)
    assert any("crop" in picture for picture in pictures)
