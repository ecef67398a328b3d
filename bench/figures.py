"""What a benchmark gives."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured number; at_most and at_least are its targets, where it has one."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

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


def as_table(title: str, figures: Sequence[Figure]) -> Table:
    """Figures beside their targets."""
    table = Table(title=title, title_justify="left")
    for heading in ("Figure", "Value", "Target", "Met"):
        table.add_column(heading, justify="left" if heading == "Figure" else "right")
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.is_met]
        table.add_row(figure.name, f"{figure.value:.3g} {figure.unit}".rstrip(), figure.target_text, met)
    return table
