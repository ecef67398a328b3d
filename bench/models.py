"""`make bench-models`: the licensed models at full size with random weights; writes bench/models.json.

`python -m bench.models TABLE...` measures some of the tables alone. It needs minutes and 10 GB of memory and of disk,
below BENCH_DIR where that is set.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from bench import medasr, medgemma, medsiglip
from bench.figures import Figure, as_markdown, as_table
from firstread.models_command import processor

RESULTS = Path(__file__).parent / "models.json"
_TABLES: Mapping[str, tuple[str, Callable[[], list[Figure]]]] = {
    "medsiglip": (medsiglip.TABLE, medsiglip.measure_medsiglip),
    "medgemma": (medgemma.TABLE, medgemma.measure_medgemma),
    "medasr": (medasr.TABLE, medasr.measure_medasr),
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(_TABLES)}; all where none is named")
    parser.add_argument("--markdown", action="store_true", help="print tables for docs/benchmarks.md")
    arguments = parser.parse_args()
    if unknown := sorted(set(arguments.tables) - set(_TABLES)):
        parser.error(f"there is no table {unknown[0]}: choose of {', '.join(_TABLES)}")
    machine = {
        "processor": processor(),
        "python": platform.python_version(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    console, measured = Console(width=130), []
    for name in arguments.tables or _TABLES:
        title, measure = _TABLES[name]
        figures = measure()
        measured += [asdict(figure) | {"table": name} for figure in figures]
        if arguments.markdown:
            print(as_markdown(title, figures, ""))
        else:
            console.print(as_table(title, figures, ""))
    RESULTS.write_text(json.dumps({"machine": machine, "figures": measured}, indent=2) + "\n", encoding="utf-8")
    console.print(", ".join(machine.values()))


if __name__ == "__main__":
    main()
