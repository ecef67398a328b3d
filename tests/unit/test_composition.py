"""What each process loads, and what it must not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from firstread.compose import open_database
from firstread.compose_worker import build_worker_app
from firstread.schema import upgrade_database
from firstread.settings import Settings
from worker.pacs import TIMEOUT_S
from worklist.errors import InvalidInput, ModelUnavailable
from worklist.job import Queue


def _loaded_by(statement: str) -> set[str]:
    """The names of the modules that a statement loads, in a fresh interpreter."""
    program = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())


def test_gateway_process_loads_no_model() -> None:
    """A gateway's process holds neither a model runtime nor the SR builder, whoever composes it."""
    loaded = _loaded_by("import firstread.compose_gateway")
    assert "gateway.app" in loaded
    assert not loaded & {"onnxruntime", "highdicom", "torch", "models", "worker", "dicom_sr"}


def test_protocols_need_no_runtime() -> None:
    """Whoever names a scorer or an explainer loads neither arrays nor a model runtime for it."""
    assert not _loaded_by("import models") & {"numpy", "onnxruntime", "pydicom"}


def test_help_needs_next_to_nothing() -> None:
    """`firstread --help` answers without loading a database, a server or a model."""
    assert not _loaded_by("import firstread.cli") & {"sqlalchemy", "fastapi", "onnxruntime", "pydicom"}


def test_a_workers_main_process_loads_nothing_that_its_child_needs() -> None:
    """Celery's main process only hands on messages: neither database, model runtime nor DICOM is in its memory."""
    loaded = _loaded_by("import firstread.cli, firstread.logs, firstread.compose_worker")
    assert "worker.tasks" in loaded
    assert not loaded & {"sqlalchemy", "onnxruntime", "numpy", "pydicom", "highdicom", "pyorthanc"}


@pytest.mark.parametrize(
    "statement",
    [
        "import models.embedded.scorer",
        "from firstread.compose_worker import Settings, build_scorer; build_scorer(Settings())",
    ],
)
def test_onnx_runtime_is_told_to_stay_silent(statement: str) -> None:
    """ONNX Runtime's reports to its maker are off before it is loaded, on a machine that says nothing about them."""
    program = (
        "import os, sys, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"{statement}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert subprocess.check_output([sys.executable, "-c", program], text=True, env=environment).split() == ["1"]


def test_a_silent_pacs_is_told_before_the_task_is_killed() -> None:
    """No allowed time limit kills a worker that waits for Orthanc: the job would fail as lost, not wait for an hour."""
    shortest_s = int(sum(TIMEOUT_S))
    for field in ("score_time_limit_s", "report_time_limit_s"):
        assert Settings.model_fields[field].default > shortest_s
        with pytest.raises(ValidationError):
            Settings.model_validate({field: shortest_s})


def test_a_worker_without_its_model_does_not_start(tmp_path: Path) -> None:
    """Missing weights end a worker at once, with the reason; running, it would leave every study waiting for ever."""
    settings = Settings(model_dir=tmp_path, database_url=f"sqlite:///{tmp_path / 'firstread.db'}")
    assert list(upgrade_database(settings))
    with pytest.raises(ModelUnavailable) as told:
        build_worker_app(settings, tuple(Queue))
    assert told.value.code == "model_missing"


@pytest.mark.parametrize("url", ["", "nonsense", "cloud://x", "mysql://user@host/name"])
def test_a_database_that_cannot_be_is_told(url: str) -> None:
    """A URL of no database, of an unknown one, or of one whose driver is not installed, is refused as what it is."""
    with pytest.raises(InvalidInput) as told:
        open_database(Settings(database_url=url))
    assert told.value.code == "bad_database_url"
