"""Pictures of an evaluation: ROC curves, calibration and confusion, one panel a finding, the same axes in all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from sklearn.metrics import roc_curve

from models.evaluation.intervals import LEAST, Estimate, Numbers, wilson
from models.evaluation.metrics import Sample, joined_bins
from worklist.errors import InvalidInput

_COLUMNS = 4
_INK, _CURVE, _GUIDE, _QUIET = "#222222", "#1f5fa8", "#999999", "#555555"
_RIGHT_CALL, _WRONG_CALL = "#d6e6f5", "#f8e0cc"
_SENTENCE_WIDTH = 30  # letters


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Panel:
    """A finding in words, the films on which it is judged, and its AUC."""

    title: str
    sample: Sample
    auc: Estimate

    @property
    def too_few(self) -> str:
        """Why no curve is drawn, as a sentence; empty where one is."""
        positives = int(self.sample.truth.sum())
        negatives = len(self.sample.truth) - positives
        for count, kind in ((positives, "positive"), (negatives, "negative")):
            if count < LEAST:
                films = "film" if count == 1 else "films"
                return f"{count or 'No'} {kind} {films}: no curve is drawn below {LEAST}."
        return ""


def save_plots(panels: Mapping[str, Panel], heading: str, folder: Path) -> list[Path]:
    """Write roc.png, calibration.png and confusion.png.

    Args:
        panels: what to draw, by target.
        heading: of which model.
        folder: where to write; made where it is not there.

    Raises:
        InvalidInput: bad_folder, nothing can be written there.
    """
    figures = draw_plots(panels, heading)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(folder / name, dpi=110)
    except OSError as error:
        raise InvalidInput("bad_folder", f"the plots cannot be written to {folder} ({error.strerror})") from error
    return [folder / name for name in figures]


def draw_plots(panels: Mapping[str, Panel], heading: str) -> dict[str, Figure]:
    """The pictures of `save_plots` by the name of their file."""
    drawn = {
        "roc.png": ("ROC curves, AUC with 95 % interval", _roc),
        "calibration.png": (f"Calibration, 95 % intervals, at least {LEAST} positive films a point", _calibration),
        "confusion.png": ("Films by label and by the model's call", _confusion),
    }
    top = _top(panels)
    figures = {}
    for name, (subject, draw) in drawn.items():
        figure = figures[name] = Figure(figsize=(14, 8), layout=ConstrainedLayoutEngine(h_pad=0.12))
        figure.suptitle(f"{subject}\n{heading}", fontsize=12, color=_INK)
        for axes, panel in zip(_axes(figure, len(panels)), panels.values(), strict=True):
            films = f"{panel.sample.truth.sum()} of {len(panel.sample.truth)} films positive"
            axes.set_title(f"{panel.title}\n{films}", fontsize=10)
            if missing := draw(axes, panel, top):
                axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
                axes.set_axis_off()
                sentence = fill(missing, _SENTENCE_WIDTH)
                axes.text(0.5, 0.5, sentence, ha="center", va="center", color=_QUIET, fontsize=10)
    return figures


def _axes(figure: Figure, count: int) -> Iterator[Axes]:
    rows = -(-count // _COLUMNS)
    for index in range(count):
        yield figure.add_subplot(rows, _COLUMNS, index + 1)


def _roc(axes: Axes, panel: Panel, _top: float) -> str:
    sample = panel.sample
    if panel.too_few:
        return panel.too_few
    if panel.auc.value is None:
        return f"{panel.auc.note.capitalize()}: there is no curve."
    alarms, hits, _ = roc_curve(sample.truth, sample.probability)
    _square(axes, "1 - specificity", "Sensitivity", top=1)
    axes.plot(alarms, hits, color=_CURVE)
    if sample.called is not None:
        at = sample.called[~sample.truth].mean(), sample.called[sample.truth].mean()
        axes.plot(*at, "o", color=_INK, markersize=5, label="operating point")
        axes.legend(loc="lower right", bbox_to_anchor=(1, 0.12), fontsize=8, frameon=False)
    axes.text(0.97, 0.05, _auc(panel.auc), ha="right", color=_INK, fontsize=10)
    return ""


def _auc(auc: Estimate) -> str:
    interval = f"({auc.low:.2f} to {auc.high:.2f})" if auc.low is not None else "(too few patients for an interval)"
    return f"AUC {auc.value:.2f} {interval}"


def _calibration(axes: Axes, panel: Panel, top: float) -> str:
    if panel.too_few:
        return panel.too_few
    mean, share, low, high = _points(panel.sample)
    _square(axes, "Mean probability", "Share of positive films", top=top)
    axes.errorbar(mean, share, yerr=[share - low, high - share], fmt="o-", color=_CURVE, linewidth=1, markersize=4)
    return ""


def _points(sample: Sample) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Mean probability and share of positive films of each joined bin, with the interval of the share."""
    mean, positives, count = joined_bins(sample)
    intervals = [wilson(hits / films, int(films)) for hits, films in zip(positives, count, strict=True)]
    low, high = (np.array([getattr(each, end) for each in intervals], np.float64) for end in ("low", "high"))
    return mean, positives / count, low, high


def _top(panels: Mapping[str, Panel]) -> float:
    """The end of the axes of all calibration curves."""
    points = [_points(panel.sample) for panel in panels.values() if not panel.too_few]
    return max((max(high.max(), mean.max()) for mean, _, _, high in points), default=1.0)


def _confusion(axes: Axes, panel: Panel, _top: float) -> str:
    sample = panel.sample
    if not len(sample.truth):
        return "No labelled film with a prediction."
    if sample.called is None:
        return "The predictions do not say which films the model calls positive."
    counts = np.array(
        [[np.sum((sample.truth == t) & (sample.called == c)) for c in (True, False)] for t in (True, False)]
    )
    films = counts.sum(axis=1, keepdims=True)
    for (row, column), value in np.ndenumerate(counts):
        color = _RIGHT_CALL if row == column else _WRONG_CALL
        axes.fill([column - 0.5, column + 0.5, column + 0.5, column - 0.5], np.repeat([row - 0.5, row + 0.5], 2), color)
        axes.text(column, row - 0.06, f"{value}", ha="center", va="center", color=_INK, fontsize=20)
        if films[row, 0]:
            share = f"{value / films[row, 0]:.0%} of {films[row, 0]}"
            axes.text(column, row + 0.27, share, ha="center", va="center", color=_QUIET, fontsize=9)
    axes.set(xlim=(-0.5, 1.5), ylim=(1.5, -0.5), aspect="equal", ylabel="Label")
    axes.set_xticks([0, 1], ["called", "not called"])
    axes.set_yticks([0, 1], ["positive", "negative"], rotation=90, va="center")
    return ""


def _square(axes: Axes, x: str, y: str, *, top: float) -> None:
    limits = (-0.02 * top, 1.02 * top)
    axes.set(xlim=limits, ylim=limits, xlabel=x, ylabel=y, aspect="equal")
    axes.plot([0, top], [0, top], color=_GUIDE, linewidth=0.8, linestyle=":")
