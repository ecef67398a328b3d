"""How a checkpoint is loaded: nothing from a network, nothing that is missing made up, each fault one line.

transformers fills a tensor that a file lacks with random numbers and says so in a log at most; here it is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from worklist.errors import ModelUnavailable

# Set before these libraries are imported: no checkpoint is looked up in a hub, nobody is told of its use, and nothing
# is printed beside our own lines.
for _name in (
    "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY", "DO_NOT_TRACK", "HF_HUB_DISABLE_PROGRESS_BARS"
):  # fmt: skip
    os.environ[_name] = "1"
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

_SHOWN = 3


def load_strictly(architecture: Any, folder: Path, *, leaving_out: tuple[str, ...] = (), **options: Any) -> Any:  # noqa: ANN401 - transformers has no types
    """A model in evaluation mode, with exactly the tensors of its files.

    Args:
        architecture: a class of transformers with from_pretrained.
        folder: the checkpoint's, verified.
        leaving_out: beginnings of the names of tensors that the file holds and this model does not need.
        options: for from_pretrained.

    Raises:
        ModelUnavailable: as `reading`, or tensors_differ: some are missing, unexpected, or of another shape.
    """
    with reading(folder):
        model, found = architecture.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
        )
    faults = {
        "lacks": list(found["missing_keys"]),
        "has unexpected": [name for name in found["unexpected_keys"] if not name.startswith(leaving_out or ("\0",))],
        "has in another shape": [str(entry[0]) for entry in found.get("mismatched_keys") or ()],
    }
    for what, names in faults.items():
        if names:
            listed = ", ".join(sorted(names)[:_SHOWN]) + (
                f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            )
            raise ModelUnavailable(
                "tensors_differ",
                f"{folder} {what} {listed}: it is no checkpoint of {architecture.__name__}; download it again",
            )
    return model.eval()


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Whatever goes wrong in reading a checkpoint, as one line.

    Raises:
        ModelUnavailable: models_not_installed, weights_damaged, out_of_memory, or checkpoint_invalid.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    except MemoryError as error:
        raise ModelUnavailable("out_of_memory", f"{folder} does not fit into memory: see models/README.md") from error
    except ImportError as error:  # of transformers, for a library that this checkpoint needs
        raise ModelUnavailable("models_not_installed", f"{_brief(error)}: run make setup-models") from error
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelUnavailable(
            "checkpoint_invalid", f"{folder} cannot be loaded ({_brief(error)}): download it again"
        ) from error
    except RuntimeError as error:
        if "out of memory" in str(error).lower():
            raise ModelUnavailable(
                "out_of_memory", f"{folder} does not fit into the device's memory: see models/README.md"
            ) from error
        raise ModelUnavailable(
            "checkpoint_invalid", f"{folder} cannot be loaded ({_brief(error)}): download it again"
        ) from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # the library that it is of may not be installed
            raise
        raise ModelUnavailable(
            "weights_damaged", f"the weights in {folder} are damaged ({_brief(error)}): download them again"
        ) from error


def not_installed(error: ModuleNotFoundError) -> ModelUnavailable:
    """What to do where a library of the extra `models` is missing."""
    return ModelUnavailable(
        "models_not_installed",
        f"{error.name} is not installed: run make setup-models, or pip install 'firstread[models]'",
    )


def _brief(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:160]}" if words else type(error).__name__
