"""What `firstread models export medsiglip` leaves beside a checkpoint: the vision tower for this machine's CPU."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from models.checkpoints.manifest import MADE_HERE, Manifest, digest_of
from models.medsiglip.backends import Backend, OnnxRuntime, OpenVino
from worklist.errors import ModelUnavailable

EXPORT_FILE: Final = "vision.json"
INT8: Final = "onnxruntime-int8"
FLOAT: Final = "onnxruntime-float32"
OPENVINO: Final = "openvino"
OPENVINO_INT8: Final = "openvino-int8-mixed"
OPENVINO_INT8_FLOAT: Final = "openvino-int8"
"""Of earlier exports: held to float32 between its products on any CPU, as it was when it was measured."""
LEAST_COSINE: Final = 0.999
"""To torch's embedding in float32, for each film: what a way to run the tower must reach to be kept."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What was measured of one way to run the tower.

    Attributes:
        seconds: median of a film.
        cosine: least cosine of its image embeddings to those of torch in float32.
        size_mb: of its files, 10^6 bytes.
    """

    seconds: float
    cosine: float
    size_mb: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """The kept way, and what it was chosen from.

    Attributes:
        model_sha256: digest of the checkpoint's weights.
        kept: of `tried`.
        files: of the kept way, below the folder, the one that is loaded first, with their SHA-256.
        size_px: side of the model's square.
        machine: processor and threads.
        tried: by name.
    """

    model_sha256: str
    kept: str
    files: Mapping[str, str]
    size_px: int
    machine: str
    tried: Mapping[str, Tried]

    @property
    def sha256(self) -> str:
        """Digest of the weights that are run: of the largest of the kept files, which is the last one."""
        return list(self.files.values())[-1]

    @property
    def size_mb(self) -> float:
        """Of the kept files, 10^6 bytes."""
        return self.tried[self.kept].size_mb


def write_exported(folder: Path, exported: Exported) -> None:
    """Keep the record of an export beside its files."""
    document = json.dumps(asdict(exported), indent=2) + "\n"
    (folder / MADE_HERE / EXPORT_FILE).write_text(document, encoding="utf-8")


def read_exported(folder: Path, manifest: Manifest) -> Exported:
    """The record of the export of this very checkpoint.

    Raises:
        ModelUnavailable: not_exported, export_damaged or export_outdated.
    """
    file = folder / MADE_HERE / EXPORT_FILE
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        tried = {str(name): Tried(**entry) for name, entry in values.pop("tried").items()}
        exported = Exported(tried=tried, **values)
        size_px, *_ = int(exported.size_px), exported.size_mb, exported.sha256
    except OSError as error:
        raise ModelUnavailable(
            "not_exported", f"{folder} has no {MADE_HERE}/{EXPORT_FILE}: run firstread models export medsiglip"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelUnavailable(
            "export_damaged", f"{file} is no record of an export: run firstread models export medsiglip --again"
        ) from error
    if exported.model_sha256 != manifest.sha256 or size_px < 1:
        raise ModelUnavailable(
            "export_outdated", f"{file} is of other weights: run firstread models export medsiglip --again"
        )
    return exported


def load_exported(folder: Path, exported: Exported, *, threads: int) -> Backend:
    """The kept way, loaded, after its files were held against their digests.

    Raises:
        ModelUnavailable: export_damaged, or as the backends.
    """
    for name, sha256 in exported.files.items():
        file = folder / MADE_HERE / name
        try:
            found = digest_of(file)
        except OSError as error:
            raise ModelUnavailable(
                "export_damaged", f"{file} is missing: run firstread models export medsiglip --again"
            ) from error
        if found != sha256:
            raise ModelUnavailable(
                "export_damaged",
                f"{file} has SHA-256 {found[:12]}, not {sha256[:12]}: run firstread models export medsiglip --again",
            )
    return open_backend(exported.kept, folder / MADE_HERE / next(iter(exported.files)), threads=threads)


def open_backend(name: str, file: Path, *, threads: int) -> Backend:
    """A way to run the tower, by name.

    Raises:
        ModelUnavailable: as the backends.
    """
    if name in {OPENVINO, OPENVINO_INT8, OPENVINO_INT8_FLOAT}:
        return OpenVino(file, threads=threads, is_int8=name != OPENVINO, is_float32=name == OPENVINO_INT8_FLOAT)
    return OnnxRuntime(file, threads=threads)
