"""The licensed models' libraries, and stand-ins of their checkpoints: what the tests of both models begin with."""

from __future__ import annotations

import os
from importlib.util import find_spec

import pytest

_MISSING = [
    name for name in ("torch", "transformers", "sentencepiece", "onnxscript", "peft") if find_spec(name) is None
]
_IS_SKIPPED = bool(_MISSING) and not os.environ.get("CI")
_REASON = f"{', '.join(_MISSING)} not installed: run make setup-models"

models_needed = pytest.mark.skipif(_IS_SKIPPED, reason=_REASON)
"""A test that is skipped where the extra `models` is not installed; in continuous integration it fails instead."""


def require_models() -> None:
    """The same for a whole module."""
    if _IS_SKIPPED:
        pytest.skip(_REASON, allow_module_level=True)
