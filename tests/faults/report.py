"""The table of the faults in docs/reliability.md, and the versions that it is of."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import percentile
from tests.faults.fault import FAULTS, Fault
from tests.faults.invariants import Kind
from tests.faults.run import Outcome
from tests.servers import REPOSITORY, find_program

PAGE = REPOSITORY / "docs" / "reliability.md"
_HEADINGS = (
    "Fault",
    "Database",
    "Runs",
    "Images",
    *Kind,
    "Lasted, s",
    "`/ready` told after, s",
    "Recovered, s",
    "Late",
)
_DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def write_block(page: Path, name: str, lines: Iterable[str]) -> None:
    """Put lines between the marks of a name on a page, in the place of what is there."""
    words = page.read_text(encoding="utf-8")
    begin, end = f"<!-- {name}: written by make {name} -->", f"<!-- end of {name} -->"
    head, _, rest = words.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise ValueError(f"{page} has no place for {name}")
    page.write_text("\n".join([f"{head}{begin}", "", *lines, "", f"{end}{tail}"]), encoding="utf-8")


def as_lines(outcomes: Sequence[Outcome], not_made: Mapping[str, str], asked: str) -> list[str]:
    """The table.

    Args:
        outcomes: of every run.
        not_made: by the fault's name, why this machine did not let us make it.
        asked: what was asked for, in words.
    """
    by_fault: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        by_fault[outcome.fault].append(outcome)
    faults = [outcome for outcome in outcomes if not FAULTS[outcome.fault].is_load]
    recovered = sorted(outcome.recovered_s for outcome in faults if outcome.recovered_s is not None)
    p50, p95 = (percentile([*recovered, recovered[-1]], share) for share in (50, 95))
    never = len(faults) - len(recovered)
    images = sum(outcome.images for outcome in outcomes)
    recovery = (
        f"Recovery over the {len(faults)} runs in which something broke: p50 {p50:.1f} s, p95 {p95:.1f} s, longest "
        f"{recovered[-1]:.1f} s; never in {never}. Where films only came in masses, it is the time of their work."
    )
    return [
        f"Run on {datetime.now(UTC):%Y-%m-%d}, {asked}: {len(outcomes)} runs, {images:,} images. {versions()}",
        "",
        recovery,
        "",
        _row(_HEADINGS),
        _row(["---"] * len(_HEADINGS)),
        *(_row(_cells(FAULTS[name], runs)) for name, runs in by_fault.items()),
        _row(["All", "", *_counts(outcomes), "", "", "", f"{sum(bool(outcome.late) for outcome in outcomes)} runs"]),
        *([""] if not_made else []),
        *(f"Not made: {FAULTS[name].what} ({why})." for name, why in not_made.items()),
    ]


def versions() -> str:
    """What ran, and on what."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    postgres = find_program("postgres", *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True))
    parts = [
        _first_line(find_program("Orthanc"), "--version").rpartition("/")[2],
        _first_line(find_program("redis-server"), "--version").split(" sha")[0],
        _first_line(postgres, "--version"),
        f"SQLite {sqlite3.sqlite_version}",
        f"Python {platform.python_version()}",
        f"{len(names)} cores of {names[0] if names else platform.processor()}",
        f"load {os.getloadavg()[2]:.0f} in the quarter of an hour before the end",
    ]
    return ", ".join(parts) + "."


def _cells(fault: Fault, runs: Sequence[Outcome]) -> list[str]:
    told = [run.told_s for run in runs if run.told_s is not None]
    recovered = [run.recovered_s for run in runs]
    return [
        fault.what[0].upper() + fault.what[1:],
        " and ".join(sorted({_DATABASES[run.database] for run in runs})),
        *_counts(runs),
        _span([run.lasted_s for run in runs]),
        _span(told) if told else ("never" if fault.tells else ""),
        "never" if None in recovered else _span([one for one in recovered if one is not None]),
        "; ".join(sorted({late for run in runs for late in run.late})),
    ]


def _counts(runs: Sequence[Outcome]) -> list[str]:
    broken = [violation.kind for run in runs for violation in run.broken]
    images = sum(run.images for run in runs)
    return [str(len(runs)), str(images), *(str(broken.count(kind)) for kind in Kind)]


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.0f}", f"{max(values):.0f}"
    return low if low == high else f"{low} to {high}"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].strip()


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []
