"""The licensed models' libraries, and stand-ins of their checkpoints: what the tests of both models begin with."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

_LIBRARIES = ("torch", "transformers", "sentencepiece", "onnxscript")


def require_models() -> None:
    """Skip the tests of a module where the extra `models` is not installed; in continuous integration they fail."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"{missing[0]} is not installed: run make setup-models", allow_module_level=True)
