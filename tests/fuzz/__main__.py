"""`make fuzz`: an hour of inputs, and the table in docs/films.md.

`make fuzz FUZZ="--minutes 5 --seed 7 --only pixels"` makes fewer, and no table. Each input that raised something which
is none of our named failures, ended its process or held it, is kept below .fuzz/, beside what it did.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil

from tests.faults.report import versions, write_block
from tests.fuzz.gateway import GATEWAY_TARGETS
from tests.fuzz.run import be_silent, run
from tests.fuzz.targets import TARGETS, Target
from tests.servers import REPOSITORY

ALL = {target.name: target for target in (*TARGETS, *GATEWAY_TARGETS)}
KEPT = REPOSITORY / ".fuzz"
_PAGE = REPOSITORY / "docs" / "films.md"
_SLICE = 2000  # inputs of a process, so that what one leaves behind does not hide what another does
_HELD_S = 60.0  # of processor time without a word: the process is held
_SILENT_S = 1200.0  # without a word, whatever it does: it waits for something


@dataclass
class Tally:
    """What the inputs of a place did, so far.

    Attributes:
        inputs: how many there were.
        refused: by name.
        faults: raised something else.
        killed: ended their process, or held it.
        megabytes: the most that a process took.
    """

    inputs: int = 0
    refused: int = 0
    faults: int = 0
    killed: int = 0
    megabytes: float = 0.0


def main() -> None:
    """Give inputs for so many minutes; exit 1 where one of them did what none may."""
    asked = _arguments()
    if asked.child:
        _be_child(ALL[asked.child], asked.seed, asked.begin, asked.megabytes)
        return
    tallies = {name: Tally() for name in asked.only or ALL}
    until = time.monotonic() + 60 * asked.minutes
    for name in cycle(tallies):
        if time.monotonic() >= until:
            break
        _slice(ALL[name], asked, tallies[name], until)
    lines = list(_table(tallies, asked))
    print("\n".join(lines))  # noqa: T201
    if asked.write:
        write_block(_PAGE, "fuzz", lines)
    sys.exit(any(tally.faults or tally.killed for tally in tallies.values()))


def _slice(target: Target, asked: argparse.Namespace, tally: Tally, until: float) -> None:
    """The next inputs of a place, in a process of their own; after one that ends it comes another."""
    begin, end = tally.inputs, tally.inputs + _SLICE
    while begin < end and time.monotonic() < until:
        limits = ("--seed", str(asked.seed), "--begin", str(begin), "--megabytes", str(asked.megabytes))
        command = (sys.executable, "-m", "tests.fuzz", "--child", target.name, *limits)
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as child:
            reached = begin - 1
            for said in _lines(child, until):
                reached = said["number"]
                tally.megabytes = max(tally.megabytes, said["megabytes"])
                if "is_refused" in said:
                    tally.inputs += 1
                    tally.refused += said["is_refused"]
                if said.get("fault"):
                    tally.faults += 1
                    _keep(target, asked.seed, reached, said["fault"])
            is_over = time.monotonic() >= until
            child.kill()
            code = child.wait()
        if tally.inputs < end and not is_over:  # of the input that was begun last nothing was heard
            tally.inputs += 1
            tally.killed += 1
            _keep(target, asked.seed, reached, f"the process ended with {code}, or was held")
        begin = tally.inputs


def _lines(child: subprocess.Popen[bytes], until: float) -> Iterator[dict[str, Any]]:
    """What a process says, until it ends, is held, or the time is up; on a busy machine it may be silent for long."""
    if child.stdout is None:
        return
    process = psutil.Process(child.pid)
    spoke_at, used_s, rest = time.monotonic(), 0.0, b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while time.monotonic() < until:
            if not selector.select(1.0):
                is_held = sum(process.cpu_times()[:2]) - used_s > _HELD_S
                if is_held or time.monotonic() - spoke_at > _SILENT_S:
                    return
                continue
            said = os.read(child.stdout.fileno(), 1 << 16)  # what a buffer held, nobody would be waked for
            if not said:
                return
            *lines, rest = (rest + said).split(b"\n")
            spoke_at, used_s = time.monotonic(), sum(process.cpu_times()[:2])
            yield from map(json.loads, lines)


def _be_child(target: Target, seed: int, begin: int, megabytes: int) -> None:
    be_silent()
    with contextlib.suppress(Exception):
        target.take(target.input(seed, begin))  # whatever is loaded once is loaded before the limit
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + megabytes * 1_000_000,) * 2)
    for number in range(begin, begin + _SLICE):
        _say({"number": number})
        for outcome in run(target, seed, [number]):
            _say(asdict(outcome))


def _say(what: dict[str, object]) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    sys.stdout.write(json.dumps(what | {"megabytes": peak}) + "\n")
    sys.stdout.flush()


def _keep(target: Target, seed: int, number: int, what: str) -> None:
    KEPT.mkdir(exist_ok=True)
    name = f"{target.name}-{seed}-{number}"
    (KEPT / f"{name}.bin").write_bytes(target.input(seed, number))
    (KEPT / f"{name}.txt").write_text(f"{what}\n", encoding="utf-8")
    print(f"{name}: {what}", flush=True)  # noqa: T201


def _table(tallies: dict[str, Tally], asked: argparse.Namespace) -> Iterator[str]:
    total = sum(tally.inputs for tally in tallies.values())
    yield (
        f"Run on {datetime.now(UTC):%Y-%m-%d} for {asked.minutes:g} minutes from seed {asked.seed}: {total:,} inputs, "
        f"each process bound to {asked.megabytes:,} MB beside what it has loaded. {versions()}"
    )
    yield ""
    yield "| Place | Inputs | Refused by name | Raised something else | Ended or held the process | Most memory, MB |"
    yield "|---|---|---|---|---|---|"
    for name, tally in tallies.items():
        counts = (tally.inputs, tally.refused, tally.faults, tally.killed, round(tally.megabytes))
        yield f"| {name} | {' | '.join(f'{count:,}' for count in counts)} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="another one makes other inputs")
    parser.add_argument("--only", nargs="*", choices=list(ALL), help="places; all where none is named")
    parser.add_argument("--megabytes", type=int, default=1500, help="that a process may take beside what it has loaded")
    parser.add_argument("--write", action="store_true", help="write the table to docs/films.md")
    parser.add_argument("--child", choices=list(ALL), help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
