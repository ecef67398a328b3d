"""Films, labels and readers' boxes: reading them once into memory, drawing epochs, changing films at random."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from tqdm import tqdm

from imaging.geometry import fit_square
from models.evaluation.held_out import is_held_out

from .archive import LATERAL, NOT_CHEST, WRONG_WAY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

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
# What a radiologist said of some of the films, without a text between.
OPACITY, NORMAL = "opacity", "normal"
KEYS = (*COLUMNS, OPACITY, NORMAL)
# Labels of an opacity; a radiologist's box of an opacity is where each of them is to be seen.
OPACITIES = ("consolidation", "pneumonia", "infiltration")

_ORIGINAL_PX = 1024  # of the films of ChestX-ray14, in which readers drew their boxes
_BOX_KEYS = {
    **{name.lower(): key for key, name in COLUMNS.items() if key != URGENT},
    "infiltrate": "infiltration",
}
_CELL_PARTS = 4  # along either side of a cell of evidence, in which the share of a box is measured


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What radiologists said of a film: whether there is an opacity, whether it is normal, and boxes by key.

    A box is (x, y, w, h) in pixels of the original.
    """

    opacity: bool | None = None
    normal: bool | None = None
    boxes: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()


def read_readings(rsna: Path | None, boxes: Path | None) -> dict[str, Reading]:
    """Read what radiologists said, by name of the original.

    Args:
        rsna: CSV of the RSNA challenge of 2018: image, rsna_class, boxes_xywh_1024.
        boxes: CSV of ChestX-ray14: image, finding, x, y, w, h.

    """
    found: dict[str, Reading] = {}
    if rsna:
        with rsna.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                places = [(float(x), float(y), float(w), float(h)) for x, y, w, h in json.loads(row["boxes_xywh_1024"])]
                found[row["image"]] = Reading(
                    opacity=row["rsna_class"] == "Lung Opacity",
                    normal=row["rsna_class"] == "Normal",
                    boxes=tuple((key, place) for key in (OPACITY, *OPACITIES) for place in places),
                )
    if boxes:
        with boxes.open(newline="", encoding="utf-8") as stream:
            for row in csv.DictReader(stream):
                before = found.get(row["image"], Reading())
                key = _BOX_KEYS[row["finding"].lower()]
                place = (float(row["x"]), float(row["y"]), float(row["w"]), float(row["h"]))
                found[row["image"]] = Reading(
                    opacity=before.opacity, normal=before.normal, boxes=(*before.boxes, (key, place))
                )
    return found


@dataclass(frozen=True, kw_only=True)
class Films:
    """Films of one split, in the order of the manifests.

    Attributes:
        pixels: uint8 (N, S, S), MONOCHROME2, padded to a square.
        labels: float32 (N, outputs), 0 to 1, in the order of `KEYS`.
        believed: float32 (N, outputs), 0 where a label is left out of the loss.
        offset: float32 (N, outputs), log-odds added to a logit in the loss only.
        boxes: For each film (key number, left, top, right, bottom) of each box, in shares of the square; (N,).
        chosen: Number of the collection chosen by label that the film is of, from 0, or -1; (N,).
        source_px: Side of the film as found, (N,).
        view: "AP" or "PA", (N,).
        sex: "F" or "M", (N,).
        patient: Patient number, (N,).

    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.float32]
    believed: NDArray[np.float32]
    offset: NDArray[np.float32]
    boxes: NDArray[np.object_]
    chosen: NDArray[np.int64]
    source_px: NDArray[np.int64]
    view: NDArray[np.str_]
    sex: NDArray[np.str_]
    patient: NDArray[np.str_]

    def __len__(self) -> int:
        """Count the films."""
        return len(self.pixels)

    def subset(self, chosen: NDArray[np.bool_]) -> Films:
        """Return the films for which `chosen` (N,) is true."""
        return Films(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def tensor(self, index: NDArray[np.int64]) -> Tensor:
        """Return films as float32 (n, 1, S, S) in 0..1."""
        return greys(torch.from_numpy(self.pixels[index]))


def greys(pixels: Tensor) -> Tensor:
    """Turn uint8 (n, S, S) into float32 (n, 1, S, S) in 0..1."""
    return pixels.unsqueeze(1).float().div_(255.0)


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


def load(manifests: Sequence[Path], split: str, config: FilmsConfig, readings: Mapping[str, Reading]) -> Films:
    """Read every film of `split` ("train", "held" or "val"); files lie where their manifest says from its own folder.

    Training leaves out the films that are not what the archive says, the blurred copies of sharp films, and the
    patients who are held out. "held" has these patients' films. What judges is fitted to the square as the product
    does it, so that the calibration belongs to what is served.

    Raises:
        FileNotFoundError: A film named in a manifest is missing.
        ValueError: No manifest has a film of that split.

    """
    rows = [row for manifest in manifests for row in _rows(manifest, split, config.folds)]
    if not rows:
        message = f"no film of split {split!r} in {', '.join(map(str, manifests))}"
        raise ValueError(message)
    side = config.cached_px
    pixels = np.zeros((len(rows), side, side), dtype=np.uint8)
    shapes = np.zeros((len(rows), 2), dtype=np.int64)
    for number, row in enumerate(tqdm(rows, desc=f"reading {split}", unit="film")):
        with Image.open(row["path"]) as film:
            shapes[number] = film.size
            pixels[number] = square(film, side) if split == "train" else served_square(film, side)
    labels = np.array([[float(row[name]) for name in COLUMNS.values()] for row in rows])
    chosen = np.array(
        [next((n for n, each in enumerate(config.collections) if each.source in row["source"]), -1) for row in rows]
    )
    labels = np.concatenate([labels, np.zeros((len(rows), 2))], axis=1)
    believed, offset = np.ones(labels.shape), np.zeros(labels.shape)
    for number, each in enumerate(config.collections):
        inside = chosen == number
        believed[np.ix_(inside, [KEYS.index(key) for key in each.masked_keys])] = 0
        if inside.any() and (chosen < 0).any():
            shift = _log_odds(labels[inside]) - _log_odds(labels[chosen < 0])
            keys = [KEYS.index(key) for key in each.shifted_keys]
            offset[np.ix_(inside, keys)] = shift[keys]
    told = [readings.get(row["image"], Reading()) for row in rows]
    _believe(labels, believed, told, config.doubted_label if split == "train" else None)
    boxes = np.empty(len(rows), dtype=np.object_)
    for number, (reading, shape) in enumerate(zip(told, shapes.tolist(), strict=True)):
        boxes[number] = tuple((KEYS.index(key), *_share(place, shape)) for key, place in reading.boxes)
    films = Films(
        pixels=pixels,
        labels=labels.astype(np.float32),
        believed=believed.astype(np.float32),
        offset=offset.astype(np.float32),
        boxes=boxes,
        chosen=chosen,
        source_px=shapes.max(axis=1),
        view=np.array([row["view"] for row in rows]),
        sex=np.array([row["sex"] for row in rows]),
        patient=np.array([row["patient"] for row in rows]),
    )
    if split != "train":
        return films
    is_sharp = films.source_px > config.degraded_px
    images = np.array([row["image"] for row in rows])
    return films.subset(is_sharp | ~np.isin(images, images[is_sharp]))


def _rows(manifest: Path, split: str, folds: int) -> list[dict[str, Any]]:
    with manifest.open(newline="", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == ("val" if split == "val" else "train")]
    if split != "val":
        wrong = {*WRONG_WAY, *LATERAL, *NOT_CHEST}
        rows = [
            row for row in rows if row["file"] not in wrong and is_held_out(row["patient"], folds) == (split == "held")
        ]
    return [{**row, "path": manifest.parent / row["file"]} for row in rows]


def _believe(
    labels: NDArray[np.float64], believed: NDArray[np.float64], told: Sequence[Reading], doubted_label: float | None
) -> None:
    """Enter what radiologists said: two labels more, and, for training, doubt where a text says another thing."""
    opacities = [KEYS.index(key) for key in OPACITIES]
    for number, reading in enumerate(told):
        for key, value in ((OPACITY, reading.opacity), (NORMAL, reading.normal)):
            labels[number, KEYS.index(key)] = bool(value)
            believed[number, KEYS.index(key)] *= value is not None
        if reading.opacity is None or doubted_label is None:
            continue
        text = labels[number, opacities]
        if reading.opacity:
            # Which of them it is, nobody says.
            believed[number, opacities] *= text
        else:
            labels[number, opacities] = text * doubted_label


def _share(place: tuple[float, float, float, float], shape: Sequence[int]) -> tuple[float, ...]:
    """A box of the original as (left, top, right, bottom) in shares of the square that holds the film."""
    width, height = shape
    side = max(width, height)
    x, y, w, h = (value / _ORIGINAL_PX for value in place)
    left, top = (side - width) / 2, (side - height) / 2
    return tuple(
        value / side for value in (left + x * width, top + y * height, left + (x + w) * width, top + (y + h) * height)
    )


def _log_odds(labels: NDArray[np.float64]) -> NDArray[np.float64]:
    # Half a film is added to both sides, so that a finding that never occurs stays finite.
    positive = labels.sum(axis=0) + 0.5
    return np.asarray(np.log(positive / (len(labels) + 1.0 - positive)))


def draw_epoch(films: Films, config: FilmsConfig, generator: np.random.Generator) -> NDArray[np.int64]:
    """Draw the shuffled indices of one epoch.

    Films without any finding are most of the training films and teach least, so each epoch sees
    another share of them; calibration on `val` restores the prevalence afterwards.
    """
    plain = films.labels[:, : len(COLUMNS)].sum(axis=1) == 0
    draws = (~plain | (generator.random(len(films)) < config.kept_negatives)).astype(np.int64)
    for number, each in enumerate(config.collections):
        if each.draws:
            draws[films.chosen == number] = each.draws
    return generator.permutation(np.repeat(np.arange(len(films)), draws)).astype(np.int64)


def degrade(film: Tensor, which: Tensor, side_px: int) -> Tensor:
    """Bring some films of a batch (n, 1, S, S) to a side of `side_px` and back; `which` is bool (n,)."""
    side = film.shape[-1]
    small = functional.interpolate(film, size=(side_px, side_px), mode="bilinear", antialias=True)
    worse = functional.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)
    return torch.where(each(which), worse, film)


def place(count: int, config: AugmentConfig, stream: torch.Generator) -> Tensor:
    """Draw how films lie, as affine maps (n, 2, 3) from where a pixel goes to where it is taken."""

    def uniform(span: float) -> Tensor:
        return (_random(count, stream) * 2 - 1) * span

    angle = uniform(math.radians(config.rotation_deg))
    scale, stretch = torch.exp(uniform(config.scale)), torch.exp(uniform(config.stretch))
    mirror = torch.where(_random(count, stream) < config.flip, -1.0, 1.0)
    theta = torch.zeros(count, 2, 3, device=stream.device)
    theta[:, 0, 0] = torch.cos(angle) * scale * stretch * mirror
    theta[:, 0, 1] = -torch.sin(angle) * scale
    theta[:, 1, 0] = torch.sin(angle) * scale * mirror
    theta[:, 1, 1] = torch.cos(angle) * scale / stretch
    theta[:, 0, 2], theta[:, 1, 2] = uniform(2 * config.shift), uniform(2 * config.shift)
    return theta


def covered(boxes: NDArray[np.object_], theta: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Return (film, key) of each film's boxed outputs, int64 (b, 2), and the share of each cell in boxes, (b, h, w)."""
    wanted = sorted({(film, int(box[0])) for film, each in enumerate(boxes) for box in each})
    if not wanted:
        return torch.zeros(0, 2, dtype=torch.int64), torch.zeros(0, cells, cells)
    rows = [(n, *box[1:]) for n, (film, key) in enumerate(wanted) for box in boxes[film] if box[0] == key]
    of, device = torch.tensor([int(row[0]) for row in rows]), theta.device
    edges = torch.tensor([row[1:] for row in rows], device=device).T[:, :, None, None]
    films = torch.tensor([film for film, _ in wanted])
    parts = cells * _CELL_PARTS
    grid = functional.affine_grid(theta[films[of].to(device)], [len(rows), 1, parts, parts], align_corners=False)
    x, y = (grid[..., 0] + 1) / 2, (grid[..., 1] + 1) / 2
    inside = ((x >= edges[0]) & (x <= edges[2]) & (y >= edges[1]) & (y <= edges[3])).float()
    joined = torch.zeros(len(wanted), parts, parts, device=device)
    joined.index_add_(0, of.to(device), inside)
    return torch.tensor(wanted, dtype=torch.int64), functional.avg_pool2d(joined.clamp(max=1), _CELL_PARTS)


def augment(film: Tensor, theta: Tensor, config: AugmentConfig, side_px: int, stream: torch.Generator) -> Tensor:
    """Change a batch of films (n, 1, S, S) in 0..1 at random, resampled by `theta` to (n, 1, side, side).

    Rotation, size, shift and a slight stretch stand for positioning; gamma, contrast and
    brightness for exposure and windowing; blur and noise for the detector and compression; a bright
    bar near an upper corner for a burned-in marker.
    """
    count = len(film)

    def uniform(span: float) -> Tensor:
        return each((_random(count, stream) * 2 - 1) * span)

    soft = functional.avg_pool2d(film, 3, stride=1, padding=1, count_include_pad=False)
    film = torch.where(each(_random(count, stream) < config.blur), soft, film)
    grid = functional.affine_grid(theta, [count, 1, side_px, side_px], align_corners=False)
    film = functional.grid_sample(film, grid, mode="bilinear", align_corners=False)
    # The exponent needs a positive base: its gradient is not used, but 0 ** x is slow on some CPUs.
    film = film.clamp_(1e-4, 1.0) ** torch.exp(uniform(config.gamma))
    middle = film.mean(dim=(2, 3), keepdim=True)
    film = (film - middle) * torch.exp(uniform(config.contrast)) + middle
    film = film + uniform(config.brightness)
    if config.marker:
        film = torch.where(_marked(count, side_px, config.marker, stream), 1.0, film)
    spread = each(_random(count, stream) * config.noise)
    film = film + torch.randn(film.shape, generator=stream, device=film.device) * spread
    return film.clamp_(0.0, 1.0)


def _marked(count: int, side_px: int, share: float, stream: torch.Generator) -> Tensor:
    """Where a marker lies, bool (n, 1, side, side), on about `share` of the films: high up, at one of the sides."""
    across, down = (torch.arange(side_px, device=stream.device) / side_px for _ in range(2))
    left = _random(count, stream) * 0.15
    left = torch.where(_random(count, stream) < 0.5, left, 0.95 - left)  # noqa: PLR2004 - either side as often
    top = 0.02 + _random(count, stream) * 0.2
    width, height = (0.01 + _random(count, stream) * 0.05 for _ in range(2))
    here = _random(count, stream) < share
    columns = (across >= left[:, None]) & (across < (left + width)[:, None])
    rows = (down >= top[:, None]) & (down < (top + height)[:, None])
    return (rows[:, :, None] & columns[:, None, :] & here[:, None, None]).unsqueeze(1)


def each(value: Tensor) -> Tensor:
    """Values of the films of a batch (n,) as (n, 1, 1, 1)."""
    return value.view(-1, 1, 1, 1)


def _random(count: int, stream: torch.Generator) -> Tensor:
    return torch.rand(count, generator=stream, device=stream.device)
