"""Films and labels: reading them once into memory, drawing epochs, changing films at random."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from tqdm import tqdm

from imaging.geometry import fit_square

from .archive import LATERAL, NOT_CHEST, WRONG_WAY

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from .config import AugmentConfig, FilmsConfig

# Key of an output of the network -> column of the manifest (the labels of ChestX-ray14).
FINDINGS = {
    "pneumothorax": "Pneumothorax",
    "pleural_effusion": "Effusion",
    "consolidation": "Consolidation",
    "pneumonia": "Pneumonia",
    "cardiomegaly": "Cardiomegaly",
    "pulmonary_edema": "Edema",
}
URGENT = "urgent"
# Learned beside the findings because they share features with them, and dropped on export.
AUXILIARY = {
    "atelectasis": "Atelectasis",
    "infiltration": "Infiltration",
    "emphysema": "Emphysema",
    "fibrosis": "Fibrosis",
    "hernia": "Hernia",
    "mass": "Mass",
    "nodule": "Nodule",
    "pleural_thickening": "Pleural_Thickening",
}
COLUMNS = {**FINDINGS, URGENT: "urgent6", **AUXILIARY}


@dataclass(frozen=True, kw_only=True)
class Films:
    """Films of one split, in the order of the manifest.

    Attributes:
        pixels: uint8 (N, S, S), MONOCHROME2, padded to a square.
        labels: float32 (N, outputs), 0 or 1, in the order of `COLUMNS`.
        believed: float32 (N, outputs), 0 where a label is left out of the loss.
        offset: float32 (N, outputs), log-odds added to a logit in the loss only.
        chosen: bool (N,), whether the film is of the collection that was chosen by label.
        source_px: Side of the film as found, (N,).
        view: "AP" or "PA", (N,).
        sex: "F" or "M", (N,).
        patient: Patient number, (N,).

    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.float32]
    believed: NDArray[np.float32]
    offset: NDArray[np.float32]
    chosen: NDArray[np.bool_]
    source_px: NDArray[np.int64]
    view: NDArray[np.str_]
    sex: NDArray[np.str_]
    patient: NDArray[np.str_]

    def __len__(self) -> int:
        """Count the films."""
        return len(self.pixels)

    def subset(self, chosen: NDArray[np.bool_]) -> Films:
        """Return the films for which `chosen` (N,) is true."""
        return Films(
            pixels=self.pixels[chosen],
            labels=self.labels[chosen],
            believed=self.believed[chosen],
            offset=self.offset[chosen],
            chosen=self.chosen[chosen],
            source_px=self.source_px[chosen],
            view=self.view[chosen],
            sex=self.sex[chosen],
            patient=self.patient[chosen],
        )

    def tensor(self, index: NDArray[np.int64]) -> Tensor:
        """Return films as float32 (n, 1, S, S) in 0..1."""
        return torch.from_numpy(self.pixels[index]).unsqueeze(1).float().div_(255.0)


def square(film: Image.Image, side_px: int) -> NDArray[np.uint8]:
    """Centre a grey film on a black square and resize it to (side_px, side_px), uint8.

    Shrinking averages over the area of a pixel, because plain bilinear sampling of a 2500 px film
    would alias fine structure; enlarging is bilinear.
    """
    grey = film.convert("L")
    side = max(grey.size)
    if grey.size != (side, side):
        canvas = Image.new("L", (side, side))
        canvas.paste(grey, ((side - grey.width) // 2, (side - grey.height) // 2))
        grey = canvas
    if side != side_px:
        how = Image.Resampling.BOX if side > side_px else Image.Resampling.BILINEAR
        grey = grey.resize((side_px, side_px), how)
    return np.asarray(grey, dtype=np.uint8)


def served_square(film: Image.Image, side_px: int) -> NDArray[np.uint8]:
    """Fit a grey film to (side_px, side_px), uint8, with the product's own `fit_square`."""
    grey = np.asarray(film.convert("L"), dtype=np.float32) / np.float32(255)
    return np.rint(fit_square(grey, side_px)[0] * 255).astype(np.uint8)


def load(folder: Path, manifest: Path, split: str, config: FilmsConfig) -> Films:
    """Read every film of `split` ("train" or "val") below `folder`.

    Training leaves out the films that are not what the archive says. Validation judges all, fitted to the square as
    the product does it, so that the calibration belongs to what is served.

    Raises:
        FileNotFoundError: A film named in the manifest is missing.
        ValueError: The manifest has no film of that split.

    """
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == split]
    if split == "train":
        wrong = {*WRONG_WAY, *LATERAL, *NOT_CHEST}
        rows = [row for row in rows if row["file"] not in wrong]
    if not rows:
        message = f"{manifest}: no film of split {split!r}"
        raise ValueError(message)
    side = config.cached_px
    pixels = np.zeros((len(rows), side, side), dtype=np.uint8)
    source_px = np.zeros(len(rows), dtype=np.int64)
    for number, row in enumerate(tqdm(rows, desc=f"reading {split}", unit="film")):
        with Image.open(folder / row["file"]) as film:
            source_px[number] = max(film.size)
            pixels[number] = square(film, side) if split == "train" else served_square(film, side)
    labels = np.array([[float(row[name]) for name in COLUMNS.values()] for row in rows])
    chosen = np.array([config.chosen_source in row["source"] for row in rows])
    masked = np.array([key in config.masked_keys for key in COLUMNS])
    shifted = np.array([key in config.shifted_keys for key in COLUMNS])
    offset = _log_odds(labels[chosen]) - _log_odds(labels[~chosen])
    return Films(
        pixels=pixels,
        labels=labels.astype(np.float32),
        believed=(~np.outer(chosen, masked)).astype(np.float32),
        offset=(np.outer(chosen, shifted) * offset).astype(np.float32),
        chosen=chosen,
        source_px=source_px,
        view=np.array([row["view"] for row in rows]),
        sex=np.array([row["sex"] for row in rows]),
        patient=np.array([row["patient"] for row in rows]),
    )


def _log_odds(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    # Half a film is added to both sides, so that a finding that never occurs stays finite.
    positive = labels.sum(axis=0) + 0.5
    return np.asarray(np.log(positive / (len(labels) + 1.0 - positive)))


def draw_epoch(films: Films, kept_negatives: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw the shuffled indices of one epoch.

    Films without any finding are most of the training films and teach least, so each epoch sees
    another share of them; calibration on `val` restores the prevalence afterwards.
    """
    plain = films.labels.sum(axis=1) == 0
    chosen = ~plain | (generator.random(len(films)) < kept_negatives)
    return generator.permutation(np.flatnonzero(chosen)).astype(np.int64)


def augment(film: Tensor, config: AugmentConfig, side_px: int, generator: torch.Generator) -> Tensor:
    """Change a batch of films (n, 1, S, S) in 0..1 at random, resampled to (n, 1, side, side).

    Rotation, size, shift and a slight stretch stand for positioning; gamma, contrast and
    brightness for exposure and windowing; blur and noise for the detector and compression.
    """
    count = len(film)

    def uniform(span: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * span

    def chance(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability

    def each(value: Tensor) -> Tensor:
        return value.view(count, 1, 1, 1)

    angle = uniform(math.radians(config.rotation_deg))
    scale, stretch = torch.exp(uniform(config.scale)), torch.exp(uniform(config.stretch))
    mirror = torch.where(chance(config.flip), -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = torch.cos(angle) * scale * stretch * mirror
    theta[:, 0, 1] = -torch.sin(angle) * scale
    theta[:, 1, 0] = torch.sin(angle) * scale * mirror
    theta[:, 1, 1] = torch.cos(angle) * scale / stretch
    theta[:, 0, 2], theta[:, 1, 2] = uniform(2 * config.shift), uniform(2 * config.shift)
    soft = functional.avg_pool2d(film, 3, stride=1, padding=1, count_include_pad=False)
    film = torch.where(each(chance(config.blur)), soft, film)
    grid = functional.affine_grid(theta, [count, 1, side_px, side_px], align_corners=False)
    film = functional.grid_sample(film, grid, mode="bilinear", align_corners=False)
    # The exponent needs a positive base: its gradient is not used, but 0 ** x is slow on some CPUs.
    film = film.clamp_(1e-4, 1.0) ** each(torch.exp(uniform(config.gamma)))
    middle = film.mean(dim=(2, 3), keepdim=True)
    film = (film - middle) * each(torch.exp(uniform(config.contrast))) + middle
    film = film + each(uniform(config.brightness))
    spread = each(torch.rand(count, generator=generator) * config.noise)
    film = film + torch.randn(film.shape, generator=generator) * spread
    return film.clamp_(0.0, 1.0)
