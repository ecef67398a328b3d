"""Pictures of a simulated reading room: how long studies wait under each order, a panel a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from worklist.errors import InvalidInput, PermanentError
from worklist.simulation.comparison import Comparison, Spread
from worklist.simulation.orders import Order

try:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine
except ModuleNotFoundError as error:
    raise PermanentError(
        "extra_missing", f"--plots needs {error.name}: run pip install 'firstread[evaluation]'"
    ) from error

_COLUMNS = 3
_INK, _QUIET = "#222222", "#555555"
_COLORS = {Order.FIRSTREAD: "#1f5fa8"}
_OTHER = "#b9c6d3"
_FIGURES = {
    "mean": ("mean-wait.png", "Mean wait, minutes"),
    "p95": ("p95-wait.png", "95th percentile of the wait, minutes"),
    "worst": ("worst-wait.png", "Longest wait of a run, minutes"),
    "late": ("over-an-hour.png", "Share that waits over an hour"),
}


def save_wait_plots(comparison: Comparison, titles: Mapping[str, str], heading: str, folder: Path) -> list[Path]:
    """Write mean-wait.png, p95-wait.png, worst-wait.png and over-an-hour.png, bars with 95 % intervals.

    Args:
        comparison: what the orders come to.
        titles: of the groups that are drawn, by group.
        heading: what was simulated.
        folder: where to write; made where it is not there.

    Raises:
        InvalidInput: bad_folder, nothing can be written there.
    """
    figures = draw_waits(comparison, titles, heading)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(folder / name, dpi=110)
    except OSError as error:
        raise InvalidInput("bad_folder", f"the plots cannot be written to {folder} ({error.strerror})") from error
    return [folder / name for name in figures]


def draw_waits(comparison: Comparison, titles: Mapping[str, str], heading: str) -> dict[str, Figure]:
    """The pictures of `save_wait_plots` by the name of their file."""
    orders = list(comparison.waits)
    groups = [group for group in titles if group in comparison.waits[orders[0]]]
    drawn = {}
    for figure_name, (file, subject) in _FIGURES.items():
        rows = -(-len(groups) // _COLUMNS)
        figure = drawn[file] = Figure(figsize=(14, 1.2 + 2.3 * rows), layout=ConstrainedLayoutEngine(h_pad=0.1))
        figure.suptitle(f"{subject}\n{heading}", fontsize=12, color=_INK)
        top = max(getattr(comparison.waits[order][group], figure_name).high for order in orders for group in groups)
        for index, group in enumerate(groups):
            axes = figure.add_subplot(rows, _COLUMNS, index + 1)
            waits = [comparison.waits[order][group] for order in orders]
            _bars(axes, orders, [getattr(each, figure_name) for each in waits], top)
            axes.set_title(f"{titles[group]} ({waits[0].studies} studies)", fontsize=10)
            if index % _COLUMNS:
                axes.set_yticklabels([])
    return drawn


def _bars(axes: Axes, orders: Sequence[Order], spreads: Sequence[Spread], top: float) -> None:
    places = range(len(orders))
    values = [each.value for each in spreads]
    errors = [[max(each.value - each.low, 0) for each in spreads], [each.high - each.value for each in spreads]]
    axes.barh(
        places,
        values,
        xerr=errors,
        color=[_COLORS.get(order, _OTHER) for order in orders],
        error_kw={"ecolor": _QUIET, "elinewidth": 1},
    )
    axes.set_yticks(list(places), [order.label for order in orders], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.12 * top or 1)
    for place, each in zip(places, spreads, strict=True):
        text = f"{each.value:.2f}" if top <= 1 else f"{each.value:.0f}"
        axes.text(each.high + 0.01 * top, place, text, va="center", fontsize=8, color=_INK)
