"""A site's adapter on MedGemma: low-rank matrices beside the frozen weights (LoRA, Hu et al., arXiv:2106.09685).

`python -m models.training.medgemma` writes it in the format of the library peft, with a record, adapter.json, that
states which checkpoint it was trained on, with which prompt, and the digests of its files. It lies in the folder
`adapter` beside the checkpoint, and is loaded with it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.checkpoints.loading import reading
from models.checkpoints.manifest import ADAPTER, Manifest, digest_of
from worklist.errors import ModelUnavailable

RECORD: Final = "adapter.json"
CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapter:
    """An adapter of this very checkpoint.

    Attributes:
        folder: where it lies.
        sha256: of its record, which states the digests of its files.
    """

    folder: Path
    sha256: str


def read_adapter(folder: Path, manifest: Manifest) -> Adapter | None:
    """The adapter beside a checkpoint; None where there is none.

    Args:
        folder: the checkpoint's.
        manifest: of the checkpoint.

    Raises:
        ModelUnavailable: adapter_invalid, its files do not belong together, or to this checkpoint.
    """
    beside = folder / ADAPTER
    return read_adapter_in(beside, manifest) if beside.exists() else None


def read_adapter_in(folder: Path, manifest: Manifest) -> Adapter:
    """The adapter in a folder; as read_adapter."""
    record = folder / RECORD
    try:
        values: Mapping[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        _require_same("the checkpoint", manifest.sha256, values["base_sha256"])
        for name in (CONFIG, WEIGHTS):
            _require_same(name, digest_of(folder / name), values["files"][name])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUnavailable(
            "adapter_invalid", f"{folder} holds no adapter of this checkpoint ({error}): mend it or take it away"
        ) from error
    return Adapter(folder=folder, sha256=digest_of(record))


def with_adapter(model: Any, adapter: Adapter) -> Any:  # noqa: ANN401 - transformers has no types
    """The model itself, with an adapter beside its layers, in evaluation mode, with exactly the tensors of its file.

    Raises:
        ModelUnavailable: tuning_not_installed; adapter_invalid, its tensors are not the model's.
    """
    try:
        from peft import PeftModel, get_peft_model_state_dict  # noqa: PLC0415 - of an extra
    except ModuleNotFoundError as error:
        raise ModelUnavailable(
            "tuning_not_installed",
            f"{error.name} is not installed, which {adapter.folder} needs: pip install 'firstread[tuning]'",
        ) from error
    with reading(adapter.folder):
        from safetensors import safe_open  # noqa: PLC0415 - of another

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of transformers, about a name that peft uses
            adapted = PeftModel.from_pretrained(model, str(adapter.folder))
        with safe_open(adapter.folder / WEIGHTS, framework="pt") as file:
            differing = set(file.keys()) ^ set(get_peft_model_state_dict(adapted, save_embedding_layers=False))
    if differing:
        raise ModelUnavailable(
            "adapter_invalid", f"{adapter.folder} and the checkpoint differ in {min(differing)}: train it again"
        )
    return adapted.eval().get_base_model()


def _require_same(what: str, found: str, stated: str) -> None:
    if found != stated:
        raise ValueError(f"{what} has SHA-256 {found[:12]}, not {stated[:12]}")
