"""Train what tells a child's film from an adult's: films and a manifest in, models/gates/weights/child.json out.

Run it as `python -m models.training.child --films DIR --manifest FILE --out DIR`; it takes some minutes on one core. It
learns from children under 12 and adults among the patients of the split train, each film in several views. Five folds
of these patients give the threshold that few adults reach, and the figures; the films of the split val, which are in
none of them, are judged at the end. Who is 12 to 17 is neither learned from nor counted as an adult.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from models.gates.child import ChildGate
from models.gates.layers import stored
from models.gates.scorer import SIDE_PX, exposed_part, ranks, squeeze
from models.training.archive import LATERAL, NOT_CHEST, WRONG_WAY
from models.training.gates import Greys

_LOG = logging.getLogger(__name__)
_CHILD, _ADULT = 12, 18  # years: under, and from
_ADULTS_REFUSED = 0.003  # of the adults, with whole patients held out
_FOLDS, _SEEDS = 5, (0, 1)
_HIDDEN, _EPOCHS, _BATCH = 32, 10, 256
_VIEWS, _MORE_OF_CHILDREN = 4, 6  # of each film, and times as many of a child's
_CACHED_PX = 64
_SMOOTHING = 0.02


@dataclass(frozen=True, kw_only=True, slots=True)
class Films:
    """Frontal films with a known age, upright and with black air.

    Attributes:
        greys: what lies inside the borders of each, (n, 64, 64), 0..1.
        age: years.
        fold: which of the folds the patient is in; -1 for films of the split val.
    """

    greys: Greys
    age: NDArray[np.float64]
    fold: NDArray[np.int64]

    @property
    def is_child(self) -> NDArray[np.bool_]:
        """Under 12."""
        return self.age < _CHILD

    @property
    def is_adult(self) -> NDArray[np.bool_]:
        """18 or more."""
        return self.age >= _ADULT


def load(folder: Path, manifest: Path) -> Films:
    """Read the films of a manifest; those that are stored wrongly are left out."""
    wrong = {*WRONG_WAY, *LATERAL, *NOT_CHEST}
    with manifest.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"] not in wrong and row["age"]]
    greys = np.zeros((len(rows), _CACHED_PX, _CACHED_PX), np.float32)
    for number, row in enumerate(rows):
        with Image.open(folder / row["file"]) as film:
            pixels = np.asarray(film.convert("L"), np.float32) / np.float32(255)
        greys[number] = squeeze(exposed_part(squeeze(pixels, 2 * _CACHED_PX)), _CACHED_PX)
    return Films(
        greys=greys,
        age=np.array([float(row["age"]) for row in rows]),
        fold=np.array([-1 if row["split"] == "val" else _fold(row["patient"]) for row in rows]),
    )


def _fold(patient: str) -> int:
    return int(hashlib.sha256(f"child{patient}".encode()).hexdigest(), 16) % _FOLDS


def look(film: Greys, rng: np.random.Generator) -> Greys:
    """A random view (24 x 24 ranks) of a film: a little turned, moved, larger or smaller, mirrored or not."""
    image = Image.fromarray(film).rotate(rng.uniform(-4, 4), Image.Resampling.BILINEAR, fillcolor=float(film.mean()))
    (across, down), (right, below) = rng.uniform(0.94, 1.06, 2) * _CACHED_PX, rng.uniform(-0.05, 0.05, 2) * _CACHED_PX
    left, top = (_CACHED_PX - across) / 2 + right, (_CACHED_PX - down) / 2 + below
    box = (max(0, left), max(0, top), min(_CACHED_PX, left + across), min(_CACHED_PX, top + down))
    greys = np.asarray(image.resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX, box=box), np.float32).clip(0, 1)
    return ranks(greys[:, ::-1] if rng.random() < 0.5 else greys)  # noqa: PLR2004 - every other one


def fit(views: Greys, is_child: NDArray[np.bool_], seed: int) -> nn.Sequential:
    """A network (n, 576) -> (n, 1), logits of a child's film."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Dropout(0.1), nn.Linear(SIDE_PX**2, _HIDDEN), nn.ReLU(), nn.Dropout(0.5), nn.Linear(_HIDDEN, 1)
    )
    seen, target = torch.from_numpy(views), torch.from_numpy(is_child.astype(np.float32))
    target = target * (1 - _SMOOTHING) + _SMOOTHING / 2
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=1.0)
    batches = len(seen) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=_EPOCHS * batches + 1)
    for _ in range(_EPOCHS):
        for batch in torch.randperm(len(seen)).tensor_split(batches):
            loss = functional.binary_cross_entropy_with_logits(network(seen[batch])[:, 0], target[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def document(networks: list[nn.Sequential], threshold: float, seed: int) -> dict[str, object]:
    """child.json: the networks side by side as one."""
    layers = stored(
        first=np.concatenate([_array(network[1].weight) for network in networks]),
        bias=np.concatenate([_array(network[1].bias) for network in networks]),
        last=np.concatenate([_array(network[4].weight / len(networks)) for network in networks], axis=1),
        last_bias=np.mean([_array(network[4].bias) for network in networks], axis=0),
    )
    return {
        "name": "child",
        "version": "1.0.0",
        "trained": {"at": datetime.now(UTC).date().isoformat(), "seed": seed, "by": "models/training/child.py"},
        "threshold": round(threshold, 4),
        "network": layers,
    }


def _array(values: Tensor) -> NDArray[np.float32]:
    return np.asarray(values.detach().numpy(), np.float32)


def main() -> None:
    """Train, choose the threshold on patients held out, judge on val, and save."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m models.training.child", description=__doc__)
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    films, rng = load(arguments.films, arguments.manifest), np.random.default_rng(arguments.seed)
    learned = (films.fold >= 0) & (films.is_child | films.is_adult)
    index = np.concatenate(
        [np.flatnonzero(learned)] * _VIEWS
        + [np.flatnonzero(learned & films.is_child)] * (_VIEWS * (_MORE_OF_CHILDREN - 1))
    )
    views = np.stack([look(films.greys[number], rng).ravel() for number in index])
    thumbnails = np.stack([ranks(squeeze(film, SIDE_PX)) for film in films.greys])

    def gate(chosen: NDArray[np.bool_]) -> dict[str, object]:
        networks = [fit(views[chosen], films.is_child[index[chosen]], arguments.seed + seed) for seed in _SEEDS]
        return document(networks, 0.0, arguments.seed)

    held_out = np.full(len(films.age), np.nan)
    for fold in range(_FOLDS):
        judge = ChildGate(gate(films.fold[index] != fold))
        for number in np.flatnonzero(films.fold == fold):
            held_out[number] = judge.logit(thumbnails[number])
    threshold = float(np.quantile(held_out[films.is_adult & (films.fold >= 0)], 1 - _ADULTS_REFUSED))
    told(films, held_out, threshold, films.fold >= 0, "train, patients held out")
    final = gate(np.ones(len(index), np.bool_)) | {"threshold": round(threshold, 4)}
    judge = ChildGate(final)
    told(films, np.array([judge.logit(each) for each in thumbnails]), threshold, films.fold < 0, "val")
    (arguments.out / "child.json").write_text(json.dumps(final, indent=1) + "\n", encoding="utf-8")


def told(films: Films, logits: NDArray[np.float64], threshold: float, among: NDArray[np.bool_], name: str) -> None:
    """Log how many films of each age the gate refuses."""
    for title, low, high in (("under 6", 0, 6), ("under 12", 0, 12), ("12 to 17", 12, 18), ("adults", 18, 200)):
        those = among & (films.age >= low) & (films.age < high)
        _LOG.info("%s, %s: %d of %d", name, title, int((logits[those] >= threshold).sum()), int(those.sum()))


if __name__ == "__main__":
    main()
