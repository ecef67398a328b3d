"""The programs that a demo keeps running."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from firstread.processes import Program, Supervisor
from worklist.errors import PermanentError


def test_a_program_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    """Whoever waits for the workers learns at once which one cannot start, and why."""
    log = tmp_path / "worker.log"
    command = ["sh", "-c", "echo no model in DIR: see models/README.md; exit 1"]
    supervisor = Supervisor()
    supervisor.start(Program(name="worker-score", command=command, log=log))
    try:
        with pytest.raises(PermanentError, match=r"worker-score ended by itself; see .*: no model in DIR") as error:
            _wait(supervisor)
        assert error.value.code == "program_ended"
    finally:
        supervisor.stop()


def _wait(supervisor: Supervisor) -> None:
    while True:
        supervisor.require_no_end()
        time.sleep(0.05)
