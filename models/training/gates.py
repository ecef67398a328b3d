"""Train the network of the gates: films and a manifest in, models/gates/weights/gates.json out.

Run it as `python -m models.training.gates --films DIR --manifest FILE --out DIR`; it takes a few minutes on one core.
Frontal films come from ChestX-ray14, rights and wrongs of their orientation from the network itself: it sees each film
in all eight ways, and only one is right. Films of the archive that are turned, inverted, lateral or no chest at all
are named in models/training/archive.py. What is neither frontal nor lateral is drawn here: textures, text, shapes,
limbs, sections, and small parts of chest films.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional

from models.gates.layers import stored
from models.gates.scorer import ANSWERS, SIDE_PX, WAYS, exposed_part, ranks, squeeze
from models.training.archive import LATERAL, NOT_CHEST, WRONG_WAY

_HIDDEN = 32
_VIEWS = 16  # random views of each film, seen again and again
_EPOCHS = 32
_BATCH = 64
_DRAWN = 4000  # pictures of no chest
_LATERALS = 450  # the few lateral films, repeated; drawn ones come on top
_FLANKS = 400
_CACHED_PX = 64
_TRAIN, _TUNE = 60, 70  # patients by the hash of their number, in percent; the rest and the split val are held out
_FRONTAL_CLASS, _LATERAL_CLASS, _NEITHER_CLASS = 0, WAYS, 2 * WAYS
_THRESHOLDS = {"certain": 0.97, "least": 0.1, "lateral": 0.4, "doubtful": 0.5}  # see models/cards/gates.md

Greys = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Films:
    """The films of a manifest, upright and with black air.

    Attributes:
        greys: what lies inside the borders of each, (n, 64, 64), 0..1.
        kind: 0 frontal, 1 lateral, 2 neither.
        part: train, tune or held out.
    """

    greys: Greys
    kind: NDArray[np.int64]
    part: NDArray[np.str_]


def part_of(patient: str, split: str) -> str:
    """To which part of the films a patient belongs."""
    percent = int(hashlib.sha256(f"gates{patient}".encode()).hexdigest(), 16) % 100
    if split == "val" or percent >= _TUNE:
        return "held out"
    return "train" if percent < _TRAIN else "tune"


def load(folder: Path, manifest: Path) -> Films:
    """Read all films of a manifest."""
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    greys = np.zeros((len(rows), _CACHED_PX, _CACHED_PX), np.float32)
    for number, row in enumerate(rows):
        with Image.open(folder / row["file"]) as film:
            pixels = squeeze(_greys(film.convert("L")), 128)
        way = WRONG_WAY.get(row["file"], 0)
        greys[number] = squeeze(exposed_part(np.rot90(1 - pixels if way >= WAYS // 2 else pixels, way % 4)), _CACHED_PX)
    names = [row["file"] for row in rows]
    return Films(
        greys=greys,
        kind=np.array([1 if name in LATERAL else 2 if name in NOT_CHEST else 0 for name in names]),
        part=np.array([part_of(row["patient"], row["split"]) for row in rows]),
    )


class Network(nn.Module):
    """Judges each of the eight ways alike; gives (n, 17) logits, and (n,) whether the film as it is is cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(SIDE_PX**2, _HIDDEN), nn.ReLU(), nn.Dropout(0.1), nn.Linear(_HIDDEN, ANSWERS)
        )

    def forward(self, thumbnails: Tensor) -> tuple[Tensor, Tensor]:
        """Thumbnails are ranks, (n, 24, 24)."""
        turned = [torch.rot90(thumbnails, turns, (1, 2)) for turns in range(4)]
        ways = torch.stack([*turned, *(-way for way in turned)], 1).flatten(2)
        answers = self.layers(ways)
        neither = torch.zeros(len(thumbnails), 1)
        return torch.cat([answers[..., 0], answers[..., 1], neither], 1), answers[:, 0, 2]


def look(greys: Tensor, cut: Tensor, generator: torch.Generator) -> Tensor:
    """A random view of each picture (n, 64, 64), as ranks (n, 24, 24); where `cut` holds, with much of it cut away.

    Position, size, tilt, borders of any grey, exposure, window, noise and lead markers vary.
    """
    count = len(greys)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    def chance(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability

    def each(value: Tensor) -> Tensor:
        return value.view(count, 1, 1, 1)

    framed = chance(0.25) & ~cut
    size = torch.where(framed, uniform(1.0, 1.5), torch.exp(uniform(-0.2, 0.12)))
    stretch = torch.exp(torch.where(framed, uniform(-0.3, 0.3), uniform(-0.12, 0.12)))
    angle = uniform(-1, 1) * torch.where(framed, math.radians(6), math.radians(12))
    half = torch.stack([size * stretch, size / stretch], 1)  # (n, x and y), of the picture's half sides
    center = torch.stack([uniform(-0.14, 0.14), uniform(-0.14, 0.14)], 1)
    lost = uniform(0.28, 0.5)
    edge = torch.randint(0, 4, (count,), generator=generator)  # left, right, top, bottom
    axis, sign = edge // 2, torch.where(edge % 2 == 0, 1.0, -1.0)
    index = torch.arange(count)[cut]
    half[index, axis[cut]] = 1 - lost[cut]
    center[index, axis[cut]] = (sign * lost)[cut]
    mirror = torch.where(chance(0.1), -1.0, 1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = torch.cos(angle) * half[:, 0] * mirror, -torch.sin(angle) * half[:, 0]
    theta[:, 1, 0], theta[:, 1, 1] = torch.sin(angle) * half[:, 1] * mirror, torch.cos(angle) * half[:, 1]
    theta[:, :, 2] = center
    border = each(torch.where(chance(0.4), 1.0, 0.0) * torch.where(chance(0.2), 0.5, 1.0))
    view = greys[:, None].clamp(1e-4, 1) ** each(torch.exp(uniform(-0.5, 0.5)))
    low, high = uniform(0, 0.25) * chance(0.4), 1 - uniform(0, 0.35) * chance(0.4)
    view = ((view - each(low)) / each(high - low)).clamp(0, 1)
    grid = functional.affine_grid(theta, [count, 1, 2 * SIDE_PX, 2 * SIDE_PX], align_corners=False)
    view = functional.grid_sample(view - border, grid, mode="bilinear", align_corners=False) + border
    view = functional.avg_pool2d(view, 2)
    view += torch.randn(view.shape, generator=generator) * each(uniform(0, 0.02))
    for number in torch.nonzero(chance(0.25)).flatten().tolist():
        rows, columns, top, left = (int(value) for value in torch.randint(1, 20, (4,), generator=generator))
        view[number, 0, top : top + rows // 5 + 1, left : left + columns // 4 + 1] = float(number % 5 > 0)
    return torch.from_numpy(np.stack([ranks(greys) for greys in view[:, 0].clamp(0, 1).numpy()]))


def fit(films: Films, seed: int) -> Network:
    """Train on the films of the part `train` and on drawn pictures."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    frontal, lateral = (films.greys[(films.part == "train") & (films.kind == kind)] for kind in (0, 1))
    rng = np.random.default_rng(seed)
    flanks = np.stack([np.clip(_flank(rng), 0, 1) for _ in range(_FLANKS)]).astype(np.float32)
    lateral = np.concatenate([lateral, lateral[:, :, ::-1]] * math.ceil(_LATERALS / 2 / len(lateral)) + [flanks])
    drawn = draw(_DRAWN, frontal, rng)
    greys = torch.from_numpy(np.concatenate([frontal, frontal[::3], lateral, drawn]))
    classes = (_FRONTAL_CLASS, _FRONTAL_CLASS, _LATERAL_CLASS, _NEITHER_CLASS)
    counts = (len(frontal), len(frontal[::3]), len(lateral), len(drawn))
    target = torch.repeat_interleave(torch.tensor(classes), torch.tensor(counts))
    cut = torch.arange(len(greys)) // len(frontal) == 1
    cut &= target == _FRONTAL_CLASS
    views = [look(greys, cut, generator) for _ in range(_VIEWS)]
    network = Network()
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    batches = len(greys) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=_EPOCHS * batches + 1)
    for epoch in range(_EPOCHS):
        for batch in torch.randperm(len(greys), generator=generator).tensor_split(batches):
            logits, cut_off = network(views[epoch % _VIEWS][batch])
            is_frontal = target[batch] == _FRONTAL_CLASS
            loss = functional.cross_entropy(logits, target[batch])
            loss = loss + 0.3 * functional.binary_cross_entropy_with_logits(
                cut_off[is_frontal], cut[batch][is_frontal].float()
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def draw(count: int, chests: Greys, rng: np.random.Generator) -> Greys:
    """Pictures of no chest, (count, 64, 64), each kind as often."""
    kinds: list[Callable[[], NDArray[np.float64]]] = [
        lambda: _texture(rng), lambda: _gradient(rng), lambda: _text(rng), lambda: _shapes(rng),
        lambda: _limbs(rng), lambda: _section(rng), lambda: _detail(chests, rng),
    ]  # fmt: skip
    return np.stack([np.clip(kinds[number % len(kinds)](), 0, 1) for number in range(count)]).astype(np.float32)


def _greys(image: Image.Image) -> Greys:
    return np.asarray(np.asarray(image) / 255, np.float32)


def _happens(rng: np.random.Generator, probability: float) -> bool:
    return bool(rng.random() < probability)


def _texture(rng: np.random.Generator) -> NDArray[np.float64]:
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_CACHED_PX), np.fft.fftfreq(_CACHED_PX)))
    frequency[0, 0] = 1
    noise = rng.standard_normal((_CACHED_PX, _CACHED_PX))
    greys = np.fft.ifft2(np.fft.fft2(noise) / frequency ** rng.uniform(0, 2.2)).real
    return np.asarray((greys - greys.min()) / np.ptp(greys))


def _gradient(rng: np.random.Generator) -> NDArray[np.float64]:
    y, x = np.mgrid[:_CACHED_PX, :_CACHED_PX] / _CACHED_PX
    angle = rng.uniform(0, 2 * np.pi)
    rise = np.hypot(x - rng.random(), y - rng.random()) if _happens(rng, 0.5) else np.cos(angle) * x + np.sin(angle) * y
    rise = (rise - rise.min()) / np.ptp(rise)
    return np.asarray(rise ** rng.uniform(0.5, 2) + rng.normal(0, 0.1 * rng.random(), x.shape))


def _text(rng: np.random.Generator) -> NDArray[np.float64]:
    page = Image.new("L", (256, 256), 255)
    pen, height, y = ImageDraw.Draw(page), int(rng.integers(4, 12)), int(rng.integers(5, 30))
    while y < page.height:
        x, end = int(rng.integers(8, 40)), int(rng.integers(120, 250))
        while x < end:
            width = int(rng.integers(4, 28))
            pen.rectangle((x, y, x + width, y + height), fill=int(rng.integers(0, 120)))
            x += width + int(rng.integers(3, 9))
        y += int(height * rng.uniform(1.4, 2.6))
    return squeeze(_greys(page), _CACHED_PX).astype(np.float64)


def _shapes(rng: np.random.Generator) -> NDArray[np.float64]:
    page = Image.new("L", (256, 256), int(rng.integers(0, 256)))
    pen = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(1, 12))):
        (left, right), (top, bottom) = np.sort(rng.integers(0, 256, (2, 2))).tolist()
        (pen.ellipse if _happens(rng, 0.5) else pen.rectangle)((left, top, right, bottom), fill=int(rng.integers(256)))
    return np.asarray(0.9 * squeeze(_greys(page), _CACHED_PX) + 0.1 * _texture(rng))


def _limbs(rng: np.random.Generator) -> NDArray[np.float64]:
    """One limb, or two to five of them side by side: tubes of soft tissue around hollow bones with joints."""
    y, x = np.mgrid[:_CACHED_PX, :_CACHED_PX] / _CACHED_PX - 0.5
    count = int(rng.choice([1, 1, 2, 4, 5]))
    tilt = rng.uniform(-0.6, 0.6) + (np.pi / 2 if _happens(rng, 0.3) else 0)
    spread, fan, middle = rng.uniform(0.12, 0.2), rng.uniform(0, 0.15), rng.uniform(-0.15, 0.15)
    film = np.zeros_like(x)

    def tube(across: NDArray[np.float64], width: NDArray[np.float64] | float) -> NDArray[np.float64]:
        return np.asarray(np.sqrt(np.clip(1 - (across / width) ** 2, 0, 1)))

    for number in range(count):
        place = number - (count - 1) / 2
        angle, shift = tilt + place * fan, middle + place * spread
        across = (x - shift) * np.cos(angle) + y * np.sin(angle)
        along = y * np.cos(angle) - (x - shift) * np.sin(angle)
        width = (rng.uniform(0.12, 0.35) if count == 1 else rng.uniform(0.05, 0.09)) * (
            1 + rng.uniform(-0.5, 0.5) * along
        )
        thick, off = width * rng.uniform(0.25, 0.5), rng.uniform(-0.3, 0.3) * width
        bone = tube(across - off, thick) - 0.5 * tube(across - off, 0.6 * thick)
        if count == 1 and _happens(rng, 0.5):
            bone = bone + 0.7 * tube(across - off - 1.6 * thick, 0.5 * thick)
        joint = 1 + 0.8 * np.exp(-(((along - rng.uniform(-0.3, 0.3)) / 0.06) ** 2))
        gap = 1 - 0.8 * np.exp(-(((along - rng.uniform(-0.3, 0.3)) / 0.01) ** 2))
        flesh = tube(across, width)
        film = np.maximum(film, 0.5 * flesh + 0.5 * bone * joint * gap * (flesh > 0))
    return np.asarray(film / film.max() + rng.normal(0, 0.03, film.shape))


def _section(rng: np.random.Generator) -> NDArray[np.float64]:
    """A section of a body, such as CT makes, with organs and a spine."""
    y, x = np.mgrid[:_CACHED_PX, :_CACHED_PX] / _CACHED_PX - 0.5

    def inside(center: tuple[float, float], half: tuple[float, float], tilt: float) -> NDArray[np.bool_]:
        u, v = x - center[0], y - center[1]
        along, across = u * np.cos(tilt) + v * np.sin(tilt), v * np.cos(tilt) - u * np.sin(tilt)
        return np.asarray((along / half[0]) ** 2 + (across / half[1]) ** 2 < 1)

    body = inside((0, 0), (rng.uniform(0.3, 0.48), rng.uniform(0.2, 0.4)), 0)
    film = body * rng.uniform(0.3, 0.6)
    for _ in range(int(rng.integers(2, 9))):
        a, b, c, d = rng.uniform((-0.25, -0.25, 0.03, 0.03), (0.25, 0.25, 0.18, 0.18))
        film[inside((a, b), (c, d), rng.uniform(0, 3)) & body] = rng.random()
    film[inside((0, rng.uniform(0.1, 0.25)), (0.05, 0.05), 0) & body] = 1
    return np.asarray(film + rng.normal(0, 0.03, film.shape))


def _flank(rng: np.random.Generator) -> NDArray[np.float64]:
    """A chest seen from the side: one dark field between breastbone and spine, the heart low in front."""
    y, x = np.mgrid[:_CACHED_PX, :_CACHED_PX] / _CACHED_PX
    back = rng.uniform(0.72, 0.88) - rng.uniform(0.1, 0.35) * (y - rng.uniform(0.4, 0.6)) ** 2
    depth = rng.uniform(0.45, 0.7) * np.sqrt(np.clip(1 - ((y - 0.65) / rng.uniform(0.6, 0.75)) ** 2, 0.15, 1))

    def rise(distance: NDArray[np.float64], over: float) -> NDArray[np.float64]:
        return np.asarray(1 / (1 + np.exp(-np.clip(distance / over, -50, 50))))

    def oval(center: tuple[float, float], half: tuple[float, float], edge: float) -> NDArray[np.float64]:
        return rise(1 - np.hypot((x - center[0]) / half[0], (y - center[1]) / half[1]), edge)

    body = rise(back + 0.04 - x, 0.02) * rise(x - back + depth + 0.04, 0.02)
    middle, base = 0.8 - rng.uniform(0.28, 0.36), rng.uniform(0.55, 0.75)
    lung = oval((middle, rng.uniform(0.4, 0.5)), (rng.uniform(0.22, 0.32), rng.uniform(0.3, 0.4)), 0.06)
    lung = lung * rise(base + rng.uniform(-0.1, 0.3) * (x - middle) - y, 0.015) * rise(back - 0.04 - x, 0.02)
    heart = oval((middle - rng.uniform(0, 0.12), base - 0.08), (rng.uniform(0.1, 0.18), rng.uniform(0.08, 0.14)), 0.1)
    spine = np.exp(-(((x - back + 0.05) / 0.035) ** 2)) * (1 + 0.3 * np.sin(y * rng.uniform(70, 110)))
    film = (
        0.75 * body - rng.uniform(0.3, 0.5) * lung * body + 0.2 * heart * lung + rng.uniform(0.05, 0.3) * spine * body
    )
    film = film + rng.uniform(0, 0.6) * oval((rng.uniform(0.2, 0.7), 0.0), (0.3, rng.uniform(0.05, 0.2)), 0.1)  # an arm
    film = film + 0.04 * _texture(rng)
    return np.asarray(film if _happens(rng, 0.5) else film[:, ::-1])


def _detail(chests: Greys, rng: np.random.Generator) -> NDArray[np.float64]:
    """A part of a chest film, a third of its side at most, enlarged."""
    side = int(rng.integers(10, 21))
    top, left = rng.integers(0, _CACHED_PX - side, 2)
    part = Image.fromarray(
        np.ascontiguousarray(chests[rng.integers(len(chests)), top : top + side, left : left + side])
    )
    return np.asarray(part.resize((_CACHED_PX, _CACHED_PX), Image.Resampling.BILINEAR), np.float64)


def cut_off_threshold(network: Network, films: Films, share: float = 0.01) -> float:
    """The probability that one in a hundred whole films of the part `tune` exceeds."""
    chosen = films.greys[(films.part == "tune") & (films.kind == 0)]
    with torch.no_grad():
        _, logits = network(torch.from_numpy(np.stack([ranks(squeeze(film, SIDE_PX)) for film in chosen])))
    return float(torch.sigmoid(logits).quantile(1 - share))


def save(network: Network, thresholds: dict[str, float], seed: int, file: Path) -> None:
    """Write the weights, the first layer as signed bytes with a scale a row."""
    first, last = (network.layers[index] for index in (0, 3))
    layers = (first.weight, first.bias, last.weight, last.bias)
    card = {
        "name": "gates",
        "version": "1.0.0",
        "trained": {"at": datetime.now(UTC).date().isoformat(), "seed": seed, "by": "models/training/gates.py"},
        "thresholds": {key: round(value, 4) for key, value in thresholds.items()},
        "network": stored(*(values.detach().numpy() for values in layers)),
    }
    file.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Train, choose the threshold that the films must tell, and save."""
    parser = argparse.ArgumentParser(prog="python -m models.training.gates", description=__doc__)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    films = load(arguments.films, arguments.manifest)
    network = fit(films, arguments.seed)
    thresholds = {**_THRESHOLDS, "cut_off": cut_off_threshold(network, films)}
    save(network, thresholds, arguments.seed, arguments.out / "gates.json")


if __name__ == "__main__":
    main()
