"""The embeddings of the sentences, computed once and kept beside the checkpoint with what they were made from."""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.checkpoints.manifest import MADE_HERE, Manifest
from models.medsiglip.prompts import PromptSet
from worklist.errors import ModelUnavailable

_FILE: Final = "sentences.npz"


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Sentences:
    """What the text tower made of a set of prompts.

    Attributes:
        directions: float32 (K, D), for each pair the difference of its two embeddings, each of length 1.
        logit_scale: what a cosine is multiplied by.
    """

    directions: npt.NDArray[np.float32]
    logit_scale: float

    def logits(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Logits (n, K) of the pairs for embeddings (n, D) of any length."""
        lengths = np.sqrt(np.vecdot(embeddings, embeddings))[:, None]
        return np.asarray(self.logit_scale * (embeddings @ self.directions.T) / lengths, dtype=np.float32)


def write_sentences(folder: Path, manifest: Manifest, prompts: PromptSet) -> None:
    """Embed the sentences with the checkpoint in a folder, and keep them.

    Raises:
        ModelUnavailable: see models.medsiglip.tower.embed_sentences.
    """
    from models.medsiglip.tower import embed_sentences  # noqa: PLC0415 - torch, which a worker does not need

    vectors, logit_scale = embed_sentences(folder, [sentence for pair in prompts.sentences for sentence in pair])
    (folder / MADE_HERE).mkdir(exist_ok=True)
    np.savez(
        folder / MADE_HERE / _FILE,
        directions=vectors[0::2] - vectors[1::2],
        logit_scale=np.float64(logit_scale),
        made_from=np.array(_made_from(manifest, prompts)),
    )


def read_sentences(folder: Path, manifest: Manifest, prompts: PromptSet) -> Sentences:
    """The kept embeddings of these very sentences by this very checkpoint.

    Raises:
        ModelUnavailable: not_exported, or export_outdated.
    """
    file = folder / MADE_HERE / _FILE
    try:
        with file.open("rb") as content, np.load(content, allow_pickle=False) as arrays:
            made_from = str(arrays["made_from"])
            directions, logit_scale = arrays["directions"].astype(np.float32), float(arrays["logit_scale"])
    except FileNotFoundError as error:
        raise ModelUnavailable(
            "not_exported", f"{folder} has no {MADE_HERE}/{_FILE}: run firstread models export medsiglip"
        ) from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise ModelUnavailable(
            "export_damaged", f"{file} cannot be read ({type(error).__name__}): run firstread models export medsiglip"
        ) from error
    if made_from != _made_from(manifest, prompts) or len(directions) != len(prompts.pairs):
        raise ModelUnavailable(
            "export_outdated",
            f"{file} is of other sentences or of another checkpoint: run firstread models export medsiglip",
        )
    return Sentences(directions=directions, logit_scale=logit_scale)


def _made_from(manifest: Manifest, prompts: PromptSet) -> str:
    """A digest of model and prompts."""
    return hashlib.sha256(json.dumps([manifest.sha256, *prompts.sentences]).encode()).hexdigest()
