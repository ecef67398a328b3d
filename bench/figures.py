"""What a benchmark gives."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number.

    Attributes:
        at_most, at_least: its target, where it has one.
        baseline: what the code of an earlier commit had on the same machine, where that was measured.
    """

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None
    baseline: float | None = None

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.at_most is not None:
            return self.value <= self.at_most
        return None if self.at_least is None else self.value >= self.at_least

    @property
    def target_text(self) -> str:
        """The target as people write it."""
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"


def percentile(values: Sequence[float], percent: int) -> float:
    """A percentile of at least two values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


def median_ms(work: Callable[[], object], repeats: int) -> float:
    """Median time of a piece of work in milliseconds, after two runs to warm up."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        work()
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times[2:])


def beside(figures: Sequence[Figure], baseline: Mapping[str, float]) -> list[Figure]:
    """Figures with what the baseline has under the same names; what a figure knows of its own stays."""
    return [
        figure if figure.baseline is not None else replace(figure, baseline=baseline.get(figure.name))
        for figure in figures
    ]


def as_table(title: str, figures: Sequence[Figure], baseline: str = "") -> Table:
    """Figures beside their targets, and beside the baseline of that name where there is one."""
    table = Table(title=title, title_justify="left")
    headings = ("Figure", *([baseline] if baseline else []), "Value", "Target", "Met")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "Figure" else "right")
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.is_met]
        before = "" if figure.baseline is None else _written(figure.baseline, figure.unit)
        cells = (figure.name, *([before] if baseline else []), _written(figure.value, figure.unit))
        table.add_row(*cells, figure.target_text, met)
    return table


def as_markdown(title: str, figures: Sequence[Figure], baseline: str = "") -> str:
    """The same table for documentation."""
    return "\n".join([f"## {title}", "", *markdown_lines(figures, baseline)]) + "\n"


def markdown_lines(figures: Sequence[Figure], baseline: str = "") -> list[str]:
    """The lines of that table alone."""
    headings = ["Figure", *([baseline] if baseline else []), "Value", "Target", "Met"]
    lines = [f"| {' | '.join(headings)} |", "|---" * len(headings) + "|"]
    for figure in figures:
        met = {True: "yes", False: "no", None: ""}[figure.is_met]
        before = "" if figure.baseline is None else _written(figure.baseline, figure.unit)
        cells = [figure.name, *([before] if baseline else []), _written(figure.value, figure.unit)]
        lines.append(f"| {' | '.join([*cells, figure.target_text, met])} |")
    return lines


def _written(value: float, unit: str) -> str:
    return f"{value:.3g} {unit}".rstrip()
