"""The licensed models that Firstread knows, and where each lies below FIRSTREAD_MODEL_DIR."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worklist.errors import InvalidInput, ModelUnavailable

HAI_DEF: Final = "Health AI Developer Foundations Terms of Use"
HAI_DEF_URL: Final = "https://developers.google.com/health-ai-developer-foundations/terms"


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownModel:
    """A model that others publish under their own terms, so that Firstread neither ships nor downloads it.

    Attributes:
        name: of its folder below FIRSTREAD_MODEL_DIR, and of the setting that chooses it.
        repository: on the Hugging Face hub.
        size_gb: of its weights, about, in 10^9 bytes.
        needed: files without which it cannot be loaded, whatever else the repository holds.
    """

    name: str
    repository: str
    size_gb: float
    needed: tuple[str, ...]

    @property
    def download(self) -> str:
        """The command that fetches it, for whoever has accepted its terms."""
        return f"hf download {self.repository} --local-dir DIR/{self.name}"


MEDSIGLIP: Final = KnownModel(
    name="medsiglip",
    repository="google/medsiglip-448",
    size_gb=3.5,
    needed=("config.json", "preprocessor_config.json", "tokenizer_config.json"),
)
MEDGEMMA: Final = KnownModel(
    name="medgemma",
    repository="google/medgemma-1.5-4b-it",
    size_gb=8.6,
    needed=("config.json", "tokenizer_config.json"),
)
MEDASR: Final = KnownModel(
    name="medasr",
    repository="google/medasr",
    size_gb=0.4,
    needed=("config.json", "tokenizer_config.json"),
)
KNOWN_MODELS: Final = {model.name: model for model in (MEDSIGLIP, MEDGEMMA, MEDASR)}


def known_model(name: str) -> KnownModel:
    """The model of this name.

    Raises:
        InvalidInput: unknown_model.
    """
    try:
        return KNOWN_MODELS[name]
    except KeyError as error:
        raise InvalidInput(
            "unknown_model", f"there is no model {name!r}: choose from {', '.join(KNOWN_MODELS)}"
        ) from error


def folder_of(model: KnownModel, model_dir: Path | None) -> Path:
    """Where a model lies.

    Args:
        model: which.
        model_dir: FIRSTREAD_MODEL_DIR.

    Raises:
        ModelUnavailable: model_dir_unset, model_folder_missing.
    """
    if model_dir is None:
        raise ModelUnavailable(
            "model_dir_unset",
            f"{model.name} needs FIRSTREAD_MODEL_DIR, the folder that {model.name}/ lies in: see models/README.md",
        )
    folder = model_dir / model.name
    if not folder.is_dir():
        raise ModelUnavailable(
            "model_folder_missing",
            f"{folder} is no folder: accept the terms of {model.repository} and run {model.download}, "
            "or see firstread models stand-in",
        )
    return folder
