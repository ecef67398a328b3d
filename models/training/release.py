"""From a trained network to a release: urgency, calibration, figures, ONNX file and sidecar."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from models.evaluation import measure
from models.evaluation.measure import OUTPUTS

from .export import OTHERS, DeployedNetwork, largest_difference, round_to_half, run_onnx, write_onnx
from .films import FINDINGS, KEYS, URGENT, Films

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from .config import Recipe
    from .network import ChestNetwork

_NAME = "firstread-embedded"
_VERSION = "1.3.0"
_COMPARED = 64  # films, torch beside ONNX Runtime
_TOLERANCE = 1e-3  # logit units, between torch and ONNX Runtime
# No box of theirs was centered in a reader's (models/cards/embedded.md): a box that points wrong is worse than none.
_WITHOUT_BOXES = {"pneumothorax", "pneumonia", URGENT}
_PREPROCESSING = (
    "Stored pixel values through the modality LUT and the VOI window to grey 0..1, MONOCHROME2 "
    "(MONOCHROME1 inverted); zero-padded to a square with the film centred; resized to "
    "input_px x input_px by averaging over the area of each output pixel when shrinking, "
    "bilinearly when enlarging. Normalisation happens inside the network."
)
_ATTRIBUTION = (
    "NIH Clinical Center ChestX-ray14 (Wang et al., ChestX-ray8, CVPR 2017), "
    "nihcc.app.box.com/v/ChestXray-NIHCC; no restrictions on use, attribution required. Opacities and boxes: "
    "RSNA Pneumonia Detection Challenge 2018 (Shih et al., Radiology: Artificial Intelligence 2019)"
)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The films figures are given for.

    Attributes:
        native: Sharp films; calibration and headline figures.
        small: The others.

    """

    native: Films
    small: Films


def split_validation(films: Films, sharp_px: int) -> Validation:
    """Sort validation films by the side at which they were found; of sharp ones it is more than `sharp_px`."""
    large = films.source_px > sharp_px
    return Validation(native=films.subset(large), small=films.subset(~large))


def _truth(films: Films) -> NDArray[np.float64]:
    return films.labels[:, [KEYS.index(key) for key in OUTPUTS]].astype(np.float64)


def _rounded(value: float, digits: int = 4) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def deploy(network: ChestNetwork, held: Films, said: NDArray[np.float32]) -> DeployedNetwork:
    """Fit the urgency weights on films that it has not learned from; return the network to ship, rounded to float16.

    Args:
        network: The trained network.
        held: The films.
        said: Its logits (N, outputs) of them.

    """
    logits = said[:, [KEYS.index(key) for key in OUTPUTS]].astype(np.float64)
    urgency = measure.combine(_truth(held)[:, -1], logits)
    deployed = DeployedNetwork(network, np.array(urgency.weights), urgency.bias)
    round_to_half(deployed)
    return deployed


def figures(films: Films, logits: NDArray[np.float64]) -> dict[str, Any]:
    """AUC with 95 % interval per output, and the mean over the findings, for some films."""
    truth, result = _truth(films), {}
    for number, key in enumerate(OUTPUTS):
        label, logit = truth[:, number], logits[:, number]
        value = measure.auc(label, logit)
        entry: dict[str, Any] = {"n_positive": int(label.sum()), "auc": _rounded(value)}
        if math.isfinite(value):
            low, high = measure.interval(measure.auc, label, logit, films.patient)
            entry["auc_ci95"] = [_rounded(low), _rounded(high)]
        result[key] = entry
    areas = [result[key]["auc"] for key in FINDINGS if result[key]["auc"] is not None]
    return {"n": len(films), "mean_of_findings": _rounded(float(np.mean(areas))), **result}


def release(  # noqa: PLR0913 - everything a release records
    network: ChestNetwork,
    train: Films,
    held: Films,
    val: Films,
    recipe: Recipe,
    *,
    said: NDArray[np.float32],
    seed: int,
    manifests: Sequence[Path],
    out: Path,
) -> dict[str, Any]:
    """Write `embedded.onnx` and `embedded.json` into `out`; return figures for the log.

    `said` are the network's logits (N, outputs) of the films of the patients held out.

    Raises:
        RuntimeError: ONNX Runtime does not reproduce torch.

    """
    input_px = recipe.films.cached_px
    validation = split_validation(val, recipe.films.degraded_px)
    deployed = deploy(network, held, said)
    file = out / "embedded.onnx"
    write_onnx(deployed, file, input_px)
    native = validation.native.tensor(np.arange(len(validation.native)))
    difference = largest_difference(deployed, file, native[:_COMPARED])
    if difference > _TOLERANCE:
        message = f"ONNX Runtime differs from torch by {difference}"
        raise RuntimeError(message)
    logits, evidence, others = run_onnx(file, native.numpy())
    exact = logits.astype(np.float64)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    truth, patient = _truth(validation.native), validation.native.patient
    outputs = [
        measure.describe(key, truth[:, number], exact[:, number], patient) | {"has_boxes": key not in _WITHOUT_BOXES}
        for number, key in enumerate(OUTPUTS)
    ]
    sidecar = {
        "name": _NAME,
        "version": _VERSION,
        "sha256": digest,
        "input_px": input_px,
        "evidence_shape": list(evidence.shape[1:]),
        "outputs": outputs,
        "others": [_other(key, validation.native, others[:, number]) for number, key in enumerate(OTHERS)],
        "prevalence": _rounded(float(truth[:, -1].mean())),
        "data": {
            "source": "NIH ChestX-ray14, a sample of it at 512 px and at 128 px; readings of RSNA 2018",
            "attribution": _ATTRIBUTION,
            "manifest_sha256": [hashlib.sha256(manifest.read_bytes()).hexdigest() for manifest in manifests],
            "held_out_folds": recipe.films.folds,
            "n_train": len(train),
            "n_train_patients": len(np.unique(train.patient)),
            "n_calibration": len(validation.native),
            "n_calibration_patients": len(np.unique(validation.native.patient)),
            "n_urgency_fit": len(held),
        },
        "trained": {
            "seed": seed,
            "epochs": recipe.fit.epochs,
            "network_px": recipe.fit.network_px,
            "torch": torch.__version__,
            "recipe": recipe.as_dict(),
        },
        "preprocessing": _PREPROCESSING,
    }
    (out / "embedded.json").write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")
    return {
        "sha256": digest,
        "bytes": file.stat().st_size,
        "onnx_torch_difference": difference,
        "urgency": {
            "weights": dict(zip(OUTPUTS, deployed.urgency.weight.flatten().tolist(), strict=True)),
            "bias": float(deployed.urgency.bias),
        },
        **_reported(validation, exact, file),
    }


def _other(key: str, films: Films, logits: NDArray[np.float32]) -> dict[str, Any]:
    """Calibration and figures of an output beside the findings, on the films of which its label is known."""
    number = KEYS.index(key)
    known = films.believed[:, number] > 0
    label = films.labels[known, number].astype(np.float64)
    return {"n": int(known.sum())} | measure.describe(
        key, label, logits[known].astype(np.float64), films.patient[known]
    )


def _reported(validation: Validation, native: NDArray[np.float64], file: Path) -> dict[str, Any]:
    small_films = validation.small
    small = run_onnx(file, small_films.tensor(np.arange(len(small_films))).numpy())[0]
    films = validation.native
    reported = {
        "val_native": figures(films, native),
        "val_small": figures(small_films, small.astype(np.float64)),
    }
    groups = {"F": films.sex, "M": films.sex, "AP": films.view, "PA": films.view}
    for value, column in groups.items():
        chosen = column == value
        reported[f"val_native_{value}"] = figures(films.subset(chosen), native[chosen])
    return reported
