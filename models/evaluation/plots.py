"""Pictures of an evaluation: ROC curves, calibration and confusion, one panel a finding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from sklearn.metrics import roc_curve

from models.evaluation.intervals import wilson
from models.evaluation.metrics import Sample, calibration_bins
from worklist.errors import InvalidInput

_COLUMNS = 4
_INK, _CURVE, _GUIDE = "#222222", "#1f5fa8", "#999999"


def save_plots(samples: Mapping[str, Sample], titles: Mapping[str, str], folder: Path) -> list[Path]:
    """Write roc.png, calibration.png and confusion.png.

    Args:
        samples: the films of each finding.
        titles: what to call each of them.
        folder: where to write; made where it is not there.

    Raises:
        InvalidInput: bad_folder, nothing can be written there.
    """
    drawn = {"roc.png": _roc, "calibration.png": _calibration, "confusion.png": _confusion}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in drawn.items():
            figure = Figure(figsize=(14, 8), layout=ConstrainedLayoutEngine(h_pad=0.12))
            for axes, (key, sample) in zip(_panels(figure, len(samples)), samples.items(), strict=True):
                axes.set_title(
                    f"{titles[key]}\n{sample.truth.sum()} of {len(sample.truth)} films positive", fontsize=10
                )
                missing = draw(axes, sample)
                if missing:
                    axes.set_axis_off()
                    axes.text(0.5, 0.5, f"not defined:\n{missing}", ha="center", va="center", color=_GUIDE, wrap=True)
            figure.savefig(folder / name, dpi=110)
    except OSError as error:
        raise InvalidInput("bad_folder", f"the plots cannot be written to {folder} ({error.strerror})") from error
    return [folder / name for name in drawn]


def _panels(figure: Figure, count: int) -> Iterator[Axes]:
    rows = -(-count // _COLUMNS)
    for index in range(count):
        yield figure.add_subplot(rows, _COLUMNS, index + 1)


def _roc(axes: Axes, sample: Sample) -> str:
    if sample.lacks:
        return sample.lacks
    alarms, hits, _ = roc_curve(sample.truth, sample.probability)
    axes.plot([0, 1], [0, 1], color=_GUIDE, linewidth=0.8, linestyle=":")
    axes.plot(alarms, hits, color=_CURVE)
    if sample.called is not None:
        at = sample.called[~sample.truth].mean(), sample.called[sample.truth].mean()
        axes.plot(*at, "o", color=_INK, markersize=5, label="operating point")
        axes.legend(loc="lower right", fontsize=8, frameon=False)
    _square(axes, "1 - specificity", "Sensitivity", top=1)
    return ""


def _calibration(axes: Axes, sample: Sample) -> str:
    if not len(sample.truth):
        return sample.lacks
    mean, positives, count = calibration_bins(sample)
    intervals = [wilson(hits / films, int(films)) for hits, films in zip(positives, count, strict=True)]
    share = positives / count
    low, high = (np.array([getattr(each, end) for each in intervals], np.float64) for end in ("low", "high"))
    axes.plot([0, 1], [0, 1], color=_GUIDE, linewidth=0.8, linestyle=":")
    axes.errorbar(mean, share, yerr=[share - low, high - share], fmt="o-", color=_CURVE, linewidth=1, markersize=4)
    _square(axes, "Mean probability", "Share of positive films", top=max(high.max(), mean.max()))
    return ""


def _confusion(axes: Axes, sample: Sample) -> str:
    if sample.called is None:
        return "no operating point"
    if not len(sample.truth):
        return sample.lacks
    counts = np.array(
        [[np.sum((sample.truth == t) & (sample.called == c)) for c in (True, False)] for t in (True, False)]
    )
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(counts):
        ink = "white" if share[row, column] > 0.5 else _INK  # noqa: PLR2004 - where the blue turns dark
        axes.text(column, row, f"{value}\n{share[row, column]:.0%}", ha="center", va="center", color=ink)
    axes.set_xticks([0, 1], ["called positive", "called negative"])
    axes.set_yticks([0, 1], ["positive", "negative"])
    axes.set_ylabel("Label")
    return ""


def _square(axes: Axes, x: str, y: str, *, top: float) -> None:
    limits = (-0.02 * top, 1.02 * top)
    axes.set(xlim=limits, ylim=limits, xlabel=x, ylabel=y, aspect="equal")
