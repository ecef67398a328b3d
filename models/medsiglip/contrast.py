"""What a site's reports taught MedSigLIP, where a site gives it: a small map between image embeddings and sentences.

contrast.npz and contrast.json beside the checkpoint, as `python -m models.training.medsiglip` writes them from films
and their reports. With x an embedding (D,) of length 1, and R far below D:

    x' = x + x @ down @ up          down (D, R), up (R, D)

and the cosines of x' to the sentences take the place of those of x. A trained probe looks at x itself.
"""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from models.checkpoints.manifest import digest_of
from worklist.errors import ModelUnavailable

CONTRAST_FILES: Final = ("contrast.json", "contrast.npz")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Contrast:
    """The map: float32 down (D, R) and up (R, D); sha256 is that of contrast.json, which states the arrays' digest."""

    down: npt.NDArray[np.float32]
    up: npt.NDArray[np.float32]
    sha256: str

    def of(self, embeddings: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """What meets the sentences (n, D), for embeddings (n, D) of any length."""
        units = embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)
        return np.asarray(units + units @ self.down @ self.up, dtype=np.float32)


def read_contrast(folder: Path, length: int) -> Contrast | None:
    """The map beside a checkpoint; None where there is none.

    Args:
        folder: the checkpoint's.
        length: D, of an embedding.

    Raises:
        ModelUnavailable: contrast_invalid, its files do not belong together or to this model.
    """
    document, arrays = (folder / name for name in CONTRAST_FILES)
    if not document.exists() and not arrays.exists():
        return None
    try:
        stated, found = str(json.loads(document.read_text(encoding="utf-8"))["sha256"]), digest_of(arrays)
        if stated != found:
            raise ValueError(f"it speaks of {stated[:12]}, not of {found[:12]}")  # noqa: TRY301 - told with the others
        with arrays.open("rb") as content, np.load(content, allow_pickle=False) as held:
            down, up = (held[name].astype(np.float32) for name in ("down", "up"))
        if down.shape != (length, len(up)) or up.shape[1:] != (length,) or not np.isfinite(down).all():
            raise ValueError(f"its shapes are {down.shape} and {up.shape}, for embeddings of {length}")  # noqa: TRY301
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile) as error:
        raise ModelUnavailable(
            "contrast_invalid",
            f"{document} and {arrays.name} are no contrast of this model ({error}): mend or remove both",
        ) from error
    return Contrast(down=down, up=up, sha256=digest_of(document))
