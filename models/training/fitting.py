"""The training loop: masked multi-label loss, averaged weights, a checkpoint every epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from .films import COLUMNS, Films, augment, draw_epoch
from .network import ChestNetwork, load_imagenet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from .config import NetworkConfig, Recipe


def build(config: NetworkConfig) -> ChestNetwork:
    """Return the network that a recipe describes, with random weights."""
    return ChestNetwork(
        len(COLUMNS),
        network_px=config.network_px,
        output_stride=config.output_stride,
        dropout=config.dropout,
        stochastic_depth=config.stochastic_depth,
    )


def freeze(network: ChestNetwork, blocks: int) -> None:
    """Keep the first convolution and `blocks` blocks as they are, batch statistics included.

    The early layers work at the largest resolution: keeping them more than halves the time of a
    step on a CPU, and edges of a chest film are edges of any photograph.
    """
    if blocks:
        network.freeze_first(blocks)


def positive_weights(films: Films, cap: float) -> Tensor:
    """Weigh positives of rare findings up by the root of their odds, at most `cap`; (outputs,)."""
    positive = (films.labels * films.believed).sum(axis=0)
    negative = ((1 - films.labels) * films.believed).sum(axis=0)
    weights = np.clip(np.sqrt(negative / np.maximum(positive, 1)), 1.0, cap)
    return torch.from_numpy(weights.astype(np.float32))


def predict(network: ChestNetwork, films: Films, batch: int = 64) -> NDArray[np.float32]:
    """Return the logits (N, outputs) of films, without augmentation."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(films), batch):
            index = np.arange(start, min(start + batch, len(films)))
            film = films.tensor(index).contiguous(memory_format=torch.channels_last)
            parts.append(network(film)[0].numpy())
    return np.concatenate(parts)


class Fit:
    """One training run, resumable after every epoch.

    Each epoch seeds its own random streams from (seed, epoch), so that a resumed run draws the
    same films and the same augmentation as an uninterrupted one.
    """

    def __init__(
        self,
        recipe: Recipe,
        films: Films,
        seed: int,
        pretrained: Mapping[str, Tensor],
        taught: NDArray[np.float32] | None = None,
    ) -> None:
        """Build the network from ImageNet weights, and its optimiser.

        Args:
            recipe: How to train.
            films: What to train on.
            seed: Of every random stream.
            pretrained: An ImageNet checkpoint; see `load_imagenet`.
            taught: Probabilities (N, outputs) of the teachers, where there are any.

        """
        torch.manual_seed(seed)
        self.taught = taught
        self.recipe, self.films, self.seed, self.epoch = recipe, films, seed, 0
        self.network = build(recipe.network).to(memory_format=torch.channels_last)
        load_imagenet(self.network, pretrained)
        freeze(self.network, recipe.network.frozen_blocks)
        self.averaged = build(recipe.network).to(memory_format=torch.channels_last)
        self.averaged.load_state_dict(self.network.state_dict())
        # Decaying batch-norm scales and biases only shifts work to the next layer.
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups,
            lr=recipe.fit.learning_rate,
            weight_decay=recipe.fit.weight_decay,
        )
        self.weights = positive_weights(films, recipe.fit.positive_weight_cap)

    def run(self, checkpoint: Path, after_epoch: Callable[[dict[str, Any]], None]) -> None:
        """Train to the last epoch; save and call `after_epoch` with figures after each one."""
        while self.epoch < self.recipe.fit.epochs:
            figures = self._one_epoch()
            self.epoch += 1
            self.save(checkpoint)
            after_epoch(figures)

    def save(self, checkpoint: Path) -> None:
        """Write the state of the run; a crash while writing leaves the previous state."""
        state = {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        partial = checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(checkpoint)

    def resume(self, checkpoint: Path) -> None:
        """Continue from a saved state."""
        state = torch.load(checkpoint, weights_only=True)
        self.epoch = int(state["epoch"])
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _rate(self, passed: float) -> float:
        # Constant until the decay (Hu et al., arXiv:2404.06395): the state before the decay does
        # not depend on the number of epochs, so a longer run may continue from it.
        fit = self.recipe.fit
        rising = passed / fit.warmup_epochs
        falling = (fit.epochs - passed) / fit.decay_epochs
        return fit.learning_rate * min(rising, falling, 1.0)

    def _one_epoch(self) -> dict[str, Any]:
        began, fit = time.monotonic(), self.recipe.fit
        stream = torch.Generator().manual_seed(self.seed * 10_000 + self.epoch)
        torch.manual_seed(self.seed * 10_000 + self.epoch)
        draws = np.random.default_rng((self.seed, self.epoch))
        order = draw_epoch(self.films, self.recipe.films.kept_negatives, draws)
        # A last batch of a few films would give batch statistics of a few films.
        steps = len(order) // fit.batch
        self.network.train()
        total = 0.0
        bar = tqdm(range(steps), desc=f"epoch {self.epoch + 1}/{fit.epochs}", unit="step")
        for step in bar:
            rate = self._rate(self.epoch + step / steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            loss = self._step(order[step * fit.batch : (step + 1) * fit.batch], stream)
            total += loss
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            self._average(self.epoch * steps + step)
        seconds = round(time.monotonic() - began, 1)
        return {"loss": round(total / steps, 4), "films": len(order), "seconds": seconds}

    def _step(self, index: NDArray[np.int64], stream: torch.Generator) -> float:
        film = augment(
            self.films.tensor(index), self.recipe.augment, self.recipe.network.network_px, stream
        ).contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(self.films.labels[index])
        believed = torch.from_numpy(self.films.believed[index])
        offset = torch.from_numpy(self.films.offset[index])
        taught = labels if self.taught is None else torch.from_numpy(self.taught[index])
        if self.recipe.fit.mixup:
            mixup = self.recipe.fit.mixup
            share = float(np.random.default_rng((self.seed, self.epoch, *index[:2])).beta(mixup, mixup))
            film, labels, offset, taught = (
                torch.lerp(value.flip(0), value, max(share, 1 - share)) for value in (film, labels, offset, taught)
            )
            believed = believed * believed.flip(0)
        smoothing = self.recipe.fit.label_smoothing
        logits, _ = self.network(film)
        losses = functional.binary_cross_entropy_with_logits(
            logits + offset,
            labels * (1 - smoothing) + smoothing / 2,
            pos_weight=self.weights,
            reduction="none",
        )
        loss = (losses * believed).sum() / believed.sum().clamp(min=1)
        if self.taught is not None:
            # The teachers learned weighed labels without the offset, so neither comes in again.
            learned = functional.binary_cross_entropy_with_logits(logits, taught)
            loss = torch.lerp(loss, learned, self.recipe.teachers.share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        return float(loss.detach())

    def _average(self, step: int) -> None:
        # A young average must forget the untrained head quickly.
        decay = min(self.recipe.fit.average_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            pairs = zip(
                self.averaged.state_dict().values(),
                self.network.state_dict().values(),
                strict=True,
            )
            for mean, value in pairs:
                if mean.is_floating_point():
                    mean.lerp_(value, 1 - decay)
