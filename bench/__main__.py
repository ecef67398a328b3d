"""`make bench`: every promised figure in one run, beside a baseline and its target; writes bench/results.json."""

from __future__ import annotations

import json
import platform
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench.embedded import TABLE, UNMEASURED, measure_embedded, with_speed
from bench.figures import as_table
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
    site, model = [*measure_parts(), *measure_whole()], measure_embedded()
    figures = [*site, *model]
    RESULTS.write_text(
        json.dumps({"machine": machine, "figures": [asdict(figure) for figure in figures]}, indent=2) + "\n",
        encoding="utf-8",
    )
    console = Console(width=130)
    console.print(as_table("Firstread benchmark", site))
    console.print(as_table(TABLE, with_speed(model, site)))
    if not model:
        console.print(UNMEASURED)
    console.print(", ".join(machine.values()))


def _processor() -> str:
    names = [line.split(":", 1)[1].strip() for line in _cpu_info() if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _cpu_info() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text(encoding="utf-8").splitlines() if info.exists() else []


if __name__ == "__main__":
    main()
