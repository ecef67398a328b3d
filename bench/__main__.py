"""`make bench`: every promised figure in one run, beside a baseline and its target; writes bench/results.json."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.figures import Figure
from bench.parts import measure_parts
from bench.whole import measure_whole

RESULTS = Path(__file__).parent / "results.json"


def main() -> None:
    """Measure, print, write."""
    machine = {
        "processor": _processor(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    figures = [*measure_parts(), *measure_whole()]
    RESULTS.write_text(
        json.dumps({"machine": machine, "figures": [asdict(figure) for figure in figures]}, indent=2) + "\n",
        encoding="utf-8",
    )
    console = Console(width=130)
    console.print(_table(figures))
    console.print(", ".join(machine.values()))


def _table(figures: list[Figure]) -> Table:
    table = Table(title="Firstread benchmark", title_justify="left")
    for heading in ("Figure", "Value", "Target", "Met"):
        table.add_column(heading, justify="left" if heading == "Figure" else "right")
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.is_met]
        table.add_row(figure.name, f"{figure.value:.3g} {figure.unit}", figure.target_text, met)
    return table


def _processor() -> str:
    names = [line.split(":", 1)[1].strip() for line in _cpu_info() if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _cpu_info() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text(encoding="utf-8").splitlines() if info.exists() else []


if __name__ == "__main__":
    main()
