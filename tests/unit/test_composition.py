"""What each process loads, and what it must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from firstread.settings import Settings
from models.embedded import WEIGHTS
from worklist.order import OrderPolicy


def _loaded_by(statement: str) -> set[str]:
    """The names of the modules that a statement loads, in a fresh interpreter."""
    program = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())


def test_gateway_process_loads_no_model() -> None:
    """A gateway's process holds neither a model runtime nor the SR builder, whoever composes it."""
    loaded = _loaded_by("import firstread.compose_gateway")
    assert "gateway.app" in loaded
    assert not loaded & {"onnxruntime", "highdicom", "torch", "models", "worker", "dicom_sr"}


def test_help_needs_next_to_nothing() -> None:
    """`firstread --help` answers without loading a database, a server or a model."""
    assert not _loaded_by("import firstread.cli") & {"sqlalchemy", "fastapi", "onnxruntime", "pydicom"}


@pytest.mark.parametrize("module", ["models.embedded", "firstread.compose_worker"])
def test_onnx_runtime_is_told_to_stay_silent(module: str) -> None:
    """ONNX Runtime's reports to its maker are off before it is loaded, on a machine that says nothing about them."""
    program = (
        "import os, sys, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"import {module}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert subprocess.check_output([sys.executable, "-c", program], text=True, env=environment).split() == ["1"]


def test_default_prevalence_is_that_of_the_calibration() -> None:
    """The order's default prevalence is the rate of urgent films on which the shipped scores are calibrated."""
    prevalence = json.loads((WEIGHTS / "embedded.json").read_text(encoding="utf-8"))["prevalence"]
    assert Settings.model_fields["prevalence"].default == pytest.approx(prevalence, abs=0.01)
    assert OrderPolicy().prevalence == pytest.approx(prevalence, abs=0.01)
