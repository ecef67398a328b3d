"""One run of one fault: films before, during and after it, and what is wrong in the end."""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.faults.fault import Fault, Moment
from tests.faults.hospital import DatabaseKind, Hospital
from tests.faults.invariants import Kind, Violation, growth, lacking, violations

_EVERY_S = 0.5  # between two films that are sent during a fault
_PATIENCE_S = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a run came to.

    Attributes:
        fault: its name.
        images: how many Orthanc took, and was not made to lose.
        lasted_s: how long the fault lasted.
        recovered_s: from its end until all that had been sent by then was final; None where it never was.
        told_s: from its beginning until a gateway said so; None where none did.
        broken: the promises that were broken, whatever the machine's speed.
        late: those that were kept late.
    """

    fault: str
    database: DatabaseKind
    seed: int
    images: int
    lasted_s: float
    recovered_s: float | None
    told_s: float | None
    broken: tuple[Violation, ...]
    late: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """How large a run is.

    Attributes:
        films: how many are sent beside those of the fault itself.
        longest_s: no pause of the fault is longer.
        size: by which its counts are made smaller.
    """

    films: int = 60
    longest_s: float = 75.0
    size: float = 1.0


def run(fault: Fault, database: DatabaseKind, seed: int, scale: Scale) -> Outcome:
    """Make a fault once.

    Args:
        fault: which one.
        database: the hospital's.
        seed: decides films and moments.
        scale: how large the run is.

    Raises:
        NotPossibleHere: this machine does not let us.
    """
    plan = replace(fault.plan, database=database)
    with _open_folder() as folder, Hospital(plan, folder, seed) as hospital:
        is_warm = plan.starts_gateways and plan.starts_workers
        before, during = scale.films // 4, scale.films // 2
        hospital.stream.send(before)
        sizes = {}
        if is_warm:
            hospital.wait_for(None, _PATIENCE_S)
            sizes = hospital.sizes()
        chance = random.Random(seed)  # noqa: S311 - when a program dies is no secret
        moment = Moment(hospital=hospital, random=chance, longest_s=scale.longest_s, size=scale.size)
        with hospital.stream.flowing(during, _EVERY_S):
            began = time.monotonic()
            fault.inflict(moment)
            ended = time.monotonic()
            sent = set(hospital.stream.studies)
            left = hospital.wait_for(sent, _PATIENCE_S)
            recovered_s = None if left else time.monotonic() - ended
            if recovered_s is not None and _is_made_good(hospital, sent):
                recovered_s = time.monotonic() - ended
        told_s = hospital.watch.told_after_s(fault.tells, began)
        hospital.stream.send(scale.films - before - during)
        left = hospital.wait_for(None, _PATIENCE_S)
        if not left and _is_made_good(hospital, set(hospital.stream.studies)):
            left = hospital.wait_for(None, _PATIENCE_S)
        return Outcome(
            fault=fault.name,
            database=database,
            seed=seed,
            images=sum(map(len, hospital.stream.studies.values())),
            lasted_s=ended - began,
            recovered_s=recovered_s,
            told_s=told_s,
            broken=(
                *(Violation(kind=Kind.LOST, what=f"{one}: not final in {_PATIENCE_S:.0f} s") for one in sorted(left)),
                *violations(hospital, hospital.items(), pacs_loses=fault.loses),
                *_unready(hospital),
                *_growth(sizes, hospital),
                *(Violation(kind=Kind.WRONG, what=what) for what in moment.broken),
            ),
            late=tuple(_late(fault, recovered_s, told_s, ended - began)),
        )


def _is_made_good(hospital: Hospital, studies: set[str]) -> bool:
    """Wait for results of studies that the PACS lost and the patrol has still to miss; whether any were.

    Of what is missing for good the checker tells in the end.
    """
    was_missing, deadline = False, time.monotonic() + _PATIENCE_S
    while lacking(hospital, studies) and time.monotonic() < deadline:
        was_missing = True
        time.sleep(1)
    return was_missing


def _late(fault: Fault, recovered_s: float | None, told_s: float | None, lasted_s: float) -> Iterator[str]:
    if recovered_s is None or recovered_s > fault.recovers_within_s:
        yield f"not recovered within {fault.recovers_within_s:.0f} s"
    if fault.tells and told_s is None:
        if lasted_s + (recovered_s or 0) > fault.tells_within_s:  # else there was no time to tell
            yield f"/ready never said that {' or '.join(fault.tells)} fails"
    elif told_s is not None and told_s > fault.tells_within_s:
        yield f"/ready did not say within {fault.tells_within_s:.0f} s that {' or '.join(fault.tells)} fails"


def _growth(before: Mapping[str, tuple[float, int]], hospital: Hospital) -> list[Violation]:
    deadline = time.monotonic() + _PATIENCE_S  # a program that has just started takes more for a moment
    while grown := growth(before, hospital.sizes()):
        if time.monotonic() > deadline:
            return grown
        time.sleep(1)
    return []


def _unready(hospital: Hospital) -> list[Violation]:
    deadline = time.monotonic() + _PATIENCE_S
    while unready := hospital.watch.unready():
        if time.monotonic() > deadline:
            return [
                Violation(kind=Kind.WRONG, what=f"/ready still says that {dict(failing)} fails")
                for failing in unready.values()
            ]
        time.sleep(1)
    return []


@contextmanager
def _open_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's own account may enter."""
    with tempfile.TemporaryDirectory(prefix="firstread-fault-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
