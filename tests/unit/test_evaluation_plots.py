"""The pictures of an evaluation: what is drawn, and what is a sentence instead."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from models.evaluation.figures import evaluate_files
from models.evaluation.intervals import Estimate
from models.evaluation.metrics import Sample, area
from models.evaluation.plots import Panel, draw_plots


def panel(positives: int, *, films: int = 60, called: bool = True) -> Panel:
    """A finding that a model half knows, on films of which the first are positive."""
    generator = np.random.default_rng(positives)
    truth = np.arange(films) < positives
    probability = np.clip(generator.normal(0.2 + 0.2 * truth, 0.1), 0.01, 0.99)
    sample = Sample(truth=truth, probability=probability, called=probability > 0.3 if called else None, patient=None)
    return Panel(title=f"{positives} positive", sample=sample, auc=area(sample))


def texts(axes: Axes) -> str:
    """What is written inside a panel."""
    return " ".join(" ".join(text.get_text().split()) for text in axes.texts)


def drawn(name: str, *panels: Panel) -> Figure:
    """One of the pictures."""
    return draw_plots({str(number): each for number, each in enumerate(panels)}, "a model")[name]


@pytest.mark.parametrize("name", ["roc.png", "calibration.png"])
@pytest.mark.parametrize(
    ("positives", "sentence"),
    [
        (0, "No positive films: no curve is drawn below 5."),
        (1, "1 positive film: no curve is drawn below 5."),
        (4, "4 positive films: no curve is drawn below 5."),
        (57, "3 negative films: no curve is drawn below 5."),
    ],
)
def test_below_five_films_a_sentence_stands_for_the_curve(name: str, positives: int, sentence: str) -> None:
    """Where a curve would rest on fewer than five films of one kind, the panel says so and draws nothing."""
    (axes,) = drawn(name, panel(positives)).axes
    assert texts(axes) == sentence
    assert not axes.lines


def test_a_roc_states_its_area_and_interval() -> None:
    """In the panel stands the AUC with its interval, as it stands in the table; the operating point is marked."""
    shown = panel(20)
    (axes,) = drawn("roc.png", shown).axes
    auc = shown.auc
    assert auc.low is not None
    assert texts(axes) == f"AUC {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
    legend = axes.get_legend()
    assert legend
    assert [text.get_text() for text in legend.get_texts()] == ["operating point"]
    few = Panel(title="few patients", sample=shown.sample, auc=Estimate(value=0.7, note="too few"))
    assert texts(drawn("roc.png", few).axes[0]) == "AUC 0.70 (too few patients for an interval)"


def test_panels_share_their_axes() -> None:
    """Curves can be compared from panel to panel: all calibration panels end at the highest interval of any."""
    for name in ("roc.png", "calibration.png"):
        limits = {(axes.get_xlim(), axes.get_ylim()) for axes in drawn(name, panel(8), panel(40)).axes}
        assert len(limits) == 1


def test_confusion_shows_counts() -> None:
    """Each cell has its number of films and its share of the label's; without calls there is a sentence."""
    shown = panel(10)
    sample = shown.sample
    assert sample.called is not None
    written = texts(drawn("confusion.png", shown).axes[0])
    for truth in (True, False):
        films = int(np.sum(sample.truth == truth))
        for call in (True, False):
            count = int(np.sum((sample.truth == truth) & (sample.called == call)))
            assert f"{count} {count / films:.0%} of {films}" in written
    assert "do not say" in texts(drawn("confusion.png", panel(10, called=False)).axes[0])


def test_every_picture_names_the_model() -> None:
    """Above the panels stand what is shown and of which model."""
    for figure in draw_plots({"urgent": panel(10)}, "a model 1.0, SHA-256 0123456789ab: 60 films").values():
        assert figure.get_suptitle().endswith("\na model 1.0, SHA-256 0123456789ab: 60 films")


def test_pictures_are_written(tmp_path: Path) -> None:
    """With a folder, an evaluation leaves three PNG files in it with more than a blank page, whatever is defined."""
    films = [
        {
            "file": f"{n}.png",
            "score": n / 40,
            "findings": [{"name": "Pneumothorax", "probability": n / 80, "threshold": 0.3}],
            "model": {"name": "a model", "version": "1", "sha256": "0" * 64},
        }
        for n in range(40)
    ]
    labels = [{"file": f"{n}.png", "urgent": n % 2, "pneumothorax": int(n > 37)} for n in range(40)]
    for name, rows in (("films.json", films), ("labels.json", labels)):
        (tmp_path / name).write_text(json.dumps(rows), encoding="utf-8")
    folder = tmp_path / "new" / "plots"
    evaluate_files(tmp_path / "films.json", tmp_path / "labels.json", prevalence={}, plots=folder)
    assert sorted(path.name for path in folder.iterdir()) == ["calibration.png", "confusion.png", "roc.png"]
    for path in folder.iterdir():
        with Image.open(path) as picture:
            assert picture.width > 1000
            assert len(np.unique(np.asarray(picture.convert("L")))) > 50
