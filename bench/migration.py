"""How long a large database of the earlier version takes to come to the present one, and how much memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import migrations
from bench.figures import Figure
from bench.old_site import fill_old_site
from worklist.records import Database

STUDIES = 100_000


def measure_migration(studies: int = STUDIES) -> list[Figure]:
    """Revision 0002 to the newest one on SQLite, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "firstread.db"
        with closing(Database(f"sqlite:///{file}")) as database:
            fill_old_site(database, studies)
        run = subprocess.run(
            [sys.executable, "-m", "bench.migration", str(file)], check=True, capture_output=True, text=True
        )
    seconds, megabytes = map(float, run.stdout.split())
    name = f"Migration of {studies:,} studies"
    return [
        Figure(name=f"{name}, SQLite", value=seconds, unit="s", at_most=60),
        Figure(name=f"{name}, memory", value=megabytes, unit="MB", at_most=300),
    ]


def main() -> None:
    """Migrate one file, and tell seconds and megabytes."""
    with closing(Database(f"sqlite:///{sys.argv[1]}")) as database:
        started = time.perf_counter()
        migrations.upgrade(database)
        seconds = time.perf_counter() - started
    print(seconds, _peak_mb())


def _peak_mb() -> float:
    # Not getrusage, whose maximum counts what the parent held when it forked.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
