"""The training loop: masked multi-label loss, readers' boxes, averaged weights, a checkpoint every epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from .films import KEYS, Films, augment, covered, degrade, draw_epoch, place
from .network import ChestNetwork, load_imagenet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from .config import PhaseConfig, Recipe


_SAVED_EVERY = 25  # steps: some minutes on one core


def build(recipe: Recipe) -> ChestNetwork:
    """Return the network that a recipe describes, with random weights, as of its last phase."""
    return ChestNetwork(
        len(KEYS),
        network_px=recipe.fit.network_px,
        output_stride=recipe.network.output_stride,
        dropout=recipe.network.dropout,
        stochastic_depth=recipe.network.stochastic_depth,
    )


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


def _pointing_loss(evidence: Tensor, shares: Tensor) -> Tensor:
    """How little of the evidence (b, h, w), as a distribution over its cells, lies in boxes (b, h, w); summed."""
    spread = functional.softmax(evidence.flatten(1), dim=1)
    inside = (spread * shares.flatten(1)).sum(dim=1)
    # A box that has left the film by the augmentation says nothing.
    return -(inside.clamp(min=1e-4).log() * (shares.flatten(1).sum(dim=1) > 0.5)).sum()  # noqa: PLR2004


class Fit:
    """One training run, resumable where it was last saved: after every epoch, and now and then within one.

    Each step seeds its own random streams from (seed, epoch, step), so that a resumed run draws the
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
        self.recipe, self.films, self.seed = recipe, films, seed
        self.epoch, self.step, self._losses = 0, 0, (0.0, 0.0)
        self.network = build(recipe).to(memory_format=torch.channels_last)
        load_imagenet(self.network, pretrained)
        self.averaged = build(recipe).to(memory_format=torch.channels_last)
        self.averaged.load_state_dict(self.network.state_dict())
        self.weights = positive_weights(films, recipe.fit.positive_weight_cap)
        self._begin_phase()

    @property
    def phase(self) -> tuple[PhaseConfig, int]:
        """The phase of the coming epoch, or the last one, and how many of its epochs are over."""
        over = self.epoch
        for phase in self.recipe.fit.phases:
            if over < phase.epochs:
                return phase, over
            over -= phase.epochs
        return phase, phase.epochs

    def _begin_phase(self) -> None:
        """Start from the averaged weights, with a new optimiser, at the size of the phase."""
        phase, _ = self.phase
        self.network.load_state_dict(self.averaged.state_dict())
        self.network.network_px = self.averaged.network_px = phase.network_px
        # The early layers work at the largest resolution: keeping them spares most of the time of a step on a
        # CPU, and edges of a chest film are edges of any photograph.
        self.network.freeze_first(phase.frozen_blocks)
        # A gradient left over from before would count in the norm that is clipped.
        self.network.zero_grad(set_to_none=True)
        # Decaying batch-norm scales and biases only shifts work to the next layer.
        trained = [p for p in self.network.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim > 1]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=phase.learning_rate, weight_decay=self.recipe.fit.weight_decay)

    def run(self, checkpoint: Path, after_epoch: Callable[[dict[str, Any]], None]) -> None:
        """Train to the last epoch; save and call `after_epoch` with figures after each one."""
        while self.epoch < self.recipe.fit.epochs:
            figures = self._one_epoch(checkpoint)
            self.epoch, self.step, self._losses = self.epoch + 1, 0, (0.0, 0.0)
            self.save(checkpoint)
            after_epoch(figures)
            if self.epoch < self.recipe.fit.epochs and self.phase[1] == 0:
                self._begin_phase()

    def save(self, checkpoint: Path) -> None:
        """Write the state of the run; a crash while writing leaves the previous state."""
        state = {
            "epoch": self.epoch,
            "step": self.step,
            "losses": self._losses,
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
        self.epoch, self.step = int(state["epoch"]), int(state["step"])
        self._losses = tuple(state["losses"])
        self.averaged.load_state_dict(state["averaged"])
        self._begin_phase()
        if self.phase[1] or self.step:
            self.network.load_state_dict(state["network"])
            self.optimiser.load_state_dict(state["optimiser"])

    def _rate(self, passed: float) -> float:
        # Constant until the decay (Hu et al., arXiv:2404.06395): the state before the decay does
        # not depend on the number of epochs, so a longer run may continue from it.
        phase, over = self.phase
        rising = (over + passed) / phase.warmup_epochs
        falling = (phase.epochs - over - passed) / phase.decay_epochs
        return phase.learning_rate * min(rising, falling, 1.0)

    def _one_epoch(self, checkpoint: Path) -> dict[str, Any]:
        began, fit = time.monotonic(), self.recipe.fit
        draws = np.random.default_rng((self.seed, self.epoch))
        order = draw_epoch(self.films, self.recipe.films, draws)
        # A last batch of a few films would give batch statistics of a few films.
        steps = len(order) // fit.batch
        self.network.train()
        bar = tqdm(
            initial=self.step, total=steps, desc=f"epoch {self.epoch + 1}/{fit.epochs}", unit="step", mininterval=10
        )
        while self.step < steps:
            rate = self._rate(self.step / steps)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            seed = int(np.random.SeedSequence((self.seed, self.epoch, self.step)).generate_state(1)[0])
            torch.manual_seed(seed)
            index = order[self.step * fit.batch : (self.step + 1) * fit.batch]
            losses = self._step(index, torch.Generator().manual_seed(seed))
            self._average(self.phase[1] * steps + self.step)
            self._losses = (self._losses[0] + losses[0], self._losses[1] + losses[1])
            self.step += 1
            bar.set_postfix(loss=f"{losses[0]:.3f}", refresh=False)
            bar.update()
            if self.step % _SAVED_EVERY == 0:
                self.save(checkpoint)
        bar.close()
        seconds = round(time.monotonic() - began, 1)
        labels, boxes = (round(value / steps, 4) for value in self._losses)
        return {"loss": labels, "box_loss": boxes, "films": len(order), "seconds": seconds}

    def _step(self, index: NDArray[np.int64], stream: torch.Generator) -> tuple[float, float]:
        """Learn from some films; return the losses by labels and by boxes."""
        config, side_px = self.recipe.films, self.phase[0].network_px
        sharp = torch.from_numpy(self.films.source_px[index] > config.degraded_px)
        film = self.films.tensor(index)
        theta = place(len(index), self.recipe.augment, stream)
        worse = sharp & (torch.rand(len(index), generator=stream) < config.degraded_share)
        film = augment(degrade(film, worse, config.degraded_px), theta, self.recipe.augment, side_px, stream)
        film = film.contiguous(memory_format=torch.channels_last)
        labels = torch.from_numpy(self.films.labels[index])
        believed = torch.from_numpy(self.films.believed[index])
        offset = torch.from_numpy(self.films.offset[index])
        taught = None if self.taught is None else torch.from_numpy(self.taught[index])
        mixup = self.recipe.fit.mixup
        if mixup:
            share = float(np.random.default_rng((self.seed, self.epoch, *index[:2])).beta(mixup, mixup))
            share = max(share, 1 - share)
            film, labels, offset = (torch.lerp(value.flip(0), value, share) for value in (film, labels, offset))
            taught = None if taught is None else torch.lerp(taught.flip(0), taught, share)
            believed = believed * believed.flip(0)
        logits, evidence = self.network(film)
        loss = self._label_loss(logits, labels, believed, offset, taught)
        pointing = torch.zeros(())
        if self.recipe.fit.box_weight and not mixup:
            wanted, shares = covered(self.films.boxes[index], theta, evidence.shape[-1])
            if len(wanted):
                pointing = _pointing_loss(evidence[wanted[:, 0], wanted[:, 1]], shares) / len(index)
        self.optimiser.zero_grad(set_to_none=True)
        (loss + self.recipe.fit.box_weight * pointing).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        return float(loss.detach()), float(pointing.detach())

    def _label_loss(
        self, logits: Tensor, labels: Tensor, believed: Tensor, offset: Tensor, taught: Tensor | None
    ) -> Tensor:
        smoothing = self.recipe.fit.label_smoothing
        losses = functional.binary_cross_entropy_with_logits(
            logits + offset,
            labels * (1 - smoothing) + smoothing / 2,
            pos_weight=self.weights,
            reduction="none",
        )
        if taught is None:
            return (losses * believed).sum() / believed.sum().clamp(min=1)
        # The teachers learned weighed labels without the offset, so neither comes in again. NaN: not taught.
        share = torch.where(taught.isnan(), 0.0, self.recipe.teachers.share)
        learned = functional.binary_cross_entropy_with_logits(logits, taught.nan_to_num(0.0), reduction="none")
        parts = losses * believed * (1 - share) + learned * share
        return parts.sum() / (believed * (1 - share) + share).sum().clamp(min=1)

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
