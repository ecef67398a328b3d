"""What gateway.simulate.runner starts: a scenario comes in by stdin, what it comes to goes out by stdout, pickled.

A process of its own, started anew: a page that computes for seconds in the gateway would hold up every other answer.
"""

from __future__ import annotations

import os
import pickle
import sys

from worklist.errors import FirstreadError
from worklist.simulation.comparison import Comparison, compare

_NICENESS = 5


def main() -> None:
    """Simulate."""
    os.nice(_NICENESS)
    answer: Comparison | FirstreadError
    try:
        answer = compare(pickle.load(sys.stdin.buffer))  # noqa: S301 - the gateway's own, by a pipe of its own
    except FirstreadError as error:
        answer = error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    main()
