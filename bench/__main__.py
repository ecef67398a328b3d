"""`make bench`: every promised figure in one run, beside its target; writes bench/results.json.

`python -m bench TABLE...` measures some of the tables alone; `--baseline` measures the code of an earlier commit too,
on the same machine and first, and shows its figures beside those of the same name. What only the new code has, such as
a list of unread studies, has no figure there.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from rich.console import Console

from bench import embedded, order, simulation
from bench.access import measure_access
from bench.attach import measure_attach
from bench.baseline import COMMIT, measure_baseline
from bench.decoders import measure_decoders
from bench.embedded import FILMS, UNMEASURED, measure_embedded, with_speed
from bench.figures import Figure, as_markdown, as_table, beside
from bench.finds import measure_finds
from bench.lists import measure_lists
from bench.migration import measure_migration
from bench.notes import measure_notes
from bench.order import measure_order
from bench.pages import measure_pages
from bench.parts import measure_parts
from bench.priors import measure_priors
from bench.searches import measure_searches
from bench.simulation import measure_simulation
from bench.viewers import measure_viewers
from bench.whole import measure_whole
from firstread.models_command import processor

RESULTS = Path(__file__).parent / "results.json"
_WIDTH = 130


def main() -> None:
    """Measure, print, write."""
    arguments = _arguments()
    machine = {
        "processor": processor(),
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    chosen = {name: _TABLES[name] for name in (arguments.tables or _TABLES)}
    before = measure_baseline(FILMS) if arguments.baseline and set(chosen) & _IN_BASELINE else {}
    if arguments.baseline and "order" in chosen:
        chosen["order"] = (order.TABLE, partial(measure_order, baseline=True))
    console, tables = Console(width=_WIDTH), dict[str, list[Figure]]()
    for name, (title, measure) in chosen.items():
        measured = beside(measure(), before)
        tables[name] = measured
        shown = measured
        if name == "embedded":
            shown = with_speed(measured, [figure for figures in tables.values() for figure in figures])
        baseline = COMMIT if arguments.baseline else ""
        if shown and arguments.markdown:
            print(as_markdown(title, shown, baseline))
        elif shown:
            console.print(as_table(title, shown, baseline))
        if not measured:
            console.print(UNMEASURED)
    figures = [asdict(figure) | {"table": name} for name, measured in tables.items() for figure in measured]
    RESULTS.write_text(json.dumps({"machine": machine, "figures": figures}, indent=2) + "\n", encoding="utf-8")
    console.print(", ".join(machine.values()))


_TABLES: Mapping[str, tuple[str, Callable[[], list[Figure]]]] = {
    "parts": ("The parts, on one thread", measure_parts),
    "decoders": ("Decoders of JPEG 2000 and HTJ2K, processor time", measure_decoders),
    "whole": ("The whole site", measure_whole),
    "attach": ("The first attach to a large PACS", measure_attach),
    "lists": ("The lists of 100,000 studies", measure_lists),
    "priors": ("Earlier films and reports, before a million studies", measure_priors),
    "searches": ("QIDO-RS and UPS-RS before 100,000 studies, 5,000 to be read", measure_searches),
    "finds": ("C-FIND before 100,000 studies, 5,000 to be read", measure_finds),
    "viewers": ("What viewers ask of a whole site", measure_viewers),
    "pages": ("Open pages", measure_pages),
    "access": ("Logins and roles", measure_access),
    "migration": ("An old database", measure_migration),
    "embedded": (embedded.TABLE, measure_embedded),
    "order": (order.TABLE, measure_order),
    "notes": ("Clinical notes", measure_notes),
    "simulate": (simulation.TABLE, measure_simulation),
}


_IN_BASELINE = {"parts", "whole", "embedded"}  # tables whose figures the benchmark of the earlier commit has


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(_TABLES)}; all where none is named")
    parser.add_argument("--baseline", action="store_true", help=f"measure {COMMIT} too, and show it beside")
    parser.add_argument("--markdown", action="store_true", help="print tables for docs/benchmarks.md")
    arguments = parser.parse_args()
    for name in arguments.tables:
        if name not in _TABLES:
            parser.error(f"there is no table {name}: choose of {', '.join(_TABLES)}")
    return arguments


if __name__ == "__main__":
    main()
