"""`make faults`: every fault, and the table of docs/reliability.md.

`make faults FAULTS="redis_hangs --films 12"` makes one, and no table; `make faults FAULTS=--go-on` makes what a run
before has not come to, and FAULTS=--table writes the table of what there is.
"""

from __future__ import annotations

import argparse
import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import asdict

from tests.faults import FAULTS
from tests.faults.disks import NotPossibleHere
from tests.faults.fault import Fault
from tests.faults.hospital import DatabaseKind
from tests.faults.invariants import Kind, Violation
from tests.faults.report import PAGE, as_lines, write_block
from tests.faults.run import Outcome, Scale, run
from tests.servers import REPOSITORY

RESULTS = REPOSITORY / "tests" / "faults" / "results.jsonl"


def main() -> None:
    """Make the faults, one after the other; exit 1 where a promise is broken."""
    arguments = _arguments()
    scale = Scale(films=arguments.films, longest_s=arguments.longest_s, size=arguments.size)
    is_kept = arguments.go_on or not arguments.names
    if is_kept and not (arguments.go_on or arguments.table):
        RESULTS.unlink(missing_ok=True)
    kept = _kept() if arguments.go_on else []
    done = {(outcome.fault, outcome.database, outcome.seed) for outcome in kept}
    not_made: dict[str, str] = {}
    made: list[Outcome] = []
    failed = False
    for fault in (FAULTS[name] for name in ([] if arguments.table else arguments.names or FAULTS)):
        for database, seed in _turns(fault, arguments.seeds):
            if (fault.name, database, seed) in done:
                continue
            try:
                outcome = run(fault, database, seed, scale)
            except NotPossibleHere as error:
                not_made[fault.name] = str(error)
                continue
            except Exception:  # noqa: BLE001 - the others are made all the same
                print(f"{fault.name}, {database}, seed {seed}: the run itself failed", flush=True)  # noqa: T201
                traceback.print_exc()
                failed = True
                continue
            made.append(outcome)
            _tell(outcome)
            if is_kept:
                with RESULTS.open("a", encoding="utf-8") as results:
                    results.write(json.dumps(asdict(outcome)) + "\n")
    if not arguments.names:
        write_block(PAGE, "faults", as_lines(_kept(), not_made, _asked(scale, arguments.seeds)))
    sys.exit(failed or any(outcome.broken or outcome.late for outcome in [*kept, *made]))


def _turns(fault: Fault, most: int) -> Iterator[tuple[DatabaseKind, int]]:
    """A fault of many seeds goes to its databases in turn, one of a single seed to each."""
    if fault.seeds == 1:
        yield from ((database, 1) for database in fault.databases)
    else:
        for seed in range(1, min(fault.seeds, most) + 1):
            yield fault.databases[seed % len(fault.databases)], seed


def _kept() -> list[Outcome]:
    if not RESULTS.exists():
        return []
    order = list(FAULTS)
    found = [_outcome(json.loads(line)) for line in RESULTS.read_text(encoding="utf-8").splitlines()]
    return sorted(found, key=lambda outcome: (order.index(outcome.fault), outcome.database, outcome.seed))


def _outcome(kept: dict[str, object]) -> Outcome:
    outcome = Outcome(**kept)  # type: ignore[arg-type]
    broken = (Violation(kind=Kind(one["kind"]), what=one["what"]) for one in kept["broken"])  # type: ignore[attr-defined]
    return Outcome(**{**asdict(outcome), "broken": tuple(broken), "late": tuple(outcome.late)})


def _asked(scale: Scale, seeds: int) -> str:
    asked = f"{scale.films} films a run beside those of the fault itself, up to {seeds} seeds a fault"
    whole = Scale()
    if scale.longest_s < whole.longest_s:
        asked += f", no pause longer than {scale.longest_s:g} s"
    return asked if scale.size == whole.size else f"{asked}, counts of the faults times {scale.size:g}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)}; all where none is named")
    parser.add_argument("--films", type=int, default=60, help="sent in a run, beside those of the fault")
    parser.add_argument("--seeds", type=int, default=20, help="the most that are made of one fault")
    parser.add_argument("--longest-s", type=float, default=75.0, help="no pause of a fault is longer")
    parser.add_argument("--size", type=float, default=1.0, help="makes the counts of the faults smaller")
    parser.add_argument("--go-on", action="store_true", help="keep what a run before has made, and make the rest")
    parser.add_argument("--table", action="store_true", help="make nothing, write the table of what was kept")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in FAULTS:
            parser.error(f"there is no fault {name}: choose of {', '.join(FAULTS)}")
    return arguments


def _tell(outcome: Outcome) -> None:
    said = f"{outcome.fault}, {outcome.database}, seed {outcome.seed}: {outcome.images} images, lasted "
    said += f"{outcome.lasted_s:.1f} s"
    if outcome.told_s is not None:
        said += f", told after {outcome.told_s:.1f} s"
    said += f", recovered after {outcome.recovered_s:.1f} s" if outcome.recovered_s is not None else ", NOT RECOVERED"
    print(said, flush=True)  # noqa: T201
    for what in (*(f"{broken.kind}: {broken.what}" for broken in outcome.broken), *outcome.late):
        print(f"          {what}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
