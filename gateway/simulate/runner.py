"""One simulation at a time, in a process of its own, so that the gateway goes on answering; the last ones are kept."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from collections import OrderedDict

from fastapi.concurrency import run_in_threadpool

from worklist.errors import FirstreadError, TransientError
from worklist.simulation.comparison import Comparison
from worklist.simulation.scenario import Scenario

_KEPT = 16
_WAITING = 4  # requests that may wait for their turn
_LONGEST_S = 600.0  # on a machine that has much else to do; some seconds are usual


class Runner:
    """Runs scenarios one after another; the same one is never run twice while it is kept."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._known: OrderedDict[str, Comparison] = OrderedDict()
        self._waiting = 0

    async def run(self, scenario: Scenario) -> Comparison:
        """What a scenario comes to.

        Raises:
            InvalidInput: more arrives than can be read, or nothing does.
            TransientError: simulation_busy, too many wait for their turn; or simulation_failed, it did not end.
        """
        key = repr(scenario)
        if key not in self._known:
            if self._waiting >= _WAITING:
                raise TransientError("simulation_busy", "other simulations are running: try again in some seconds")
            self._waiting += 1
            try:
                async with self._turn:
                    if key not in self._known:
                        self._known[key] = await run_in_threadpool(_in_a_process, scenario)
                        while len(self._known) > _KEPT:
                            self._known.popitem(last=False)
            finally:
                self._waiting -= 1
        return self._known[key]


def _in_a_process(scenario: Scenario) -> Comparison:
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "gateway.simulate.child"],
            input=pickle.dumps(scenario),
            stdout=subprocess.PIPE,
            timeout=_LONGEST_S,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(
            "simulation_failed", f"the simulation took longer than {_LONGEST_S:.0f} s: ask for less"
        ) from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise TransientError(
            "simulation_failed", "the simulation ended without a result: the gateway's log says why"
        ) from error
    answer = pickle.loads(ended.stdout)  # noqa: S301 - of our own process
    if isinstance(answer, FirstreadError):
        raise answer
    if not isinstance(answer, Comparison):
        raise TypeError
    return answer
