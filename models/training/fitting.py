"""The training loop: masked multi-label loss, readers' boxes, averaged weights, a checkpoint every epoch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from tqdm import tqdm

from .export import fold
from .films import KEYS, Films, augment, covered, degrade, draw_epoch, each, greys, place
from .network import ChestNetwork, load_imagenet

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
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
        size=recipe.network.size,
        pooling=recipe.network.pooling,
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
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(films), batch):
            index = np.arange(start, min(start + batch, len(films)))
            film = films.tensor(index).to(device).contiguous(memory_format=torch.channels_last)
            parts.append(network(film)[0].cpu().numpy())
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
    same films and the same augmentation as an uninterrupted one. The films lie on the device, which changes them too;
    on a GPU the network computes in bfloat16, and the last bits of its sums differ from run to run.
    """

    def __init__(  # noqa: PLR0913 - all that decides a run
        self,
        recipe: Recipe,
        films: Films,
        seed: int,
        pretrained: Mapping[str, Tensor],
        *,
        teachers: Sequence[ChestNetwork] = (),
        device: str = "cpu",
    ) -> None:
        """Build the network from ImageNet weights, and its optimiser.

        Args:
            recipe: How to train.
            films: What to train on.
            seed: Of every random stream.
            pretrained: An ImageNet checkpoint; see `load_imagenet`.
            teachers: Networks to learn from beside the labels.
            device: Where to train, as torch names it.

        """
        torch.manual_seed(seed)
        self.recipe, self.films, self.seed, self.device = recipe, films, seed, torch.device(device)
        self.epoch, self.step = 0, 0
        self._losses = torch.zeros(2, device=self.device)
        self.network = build(recipe).to(self.device).to(memory_format=torch.channels_last)
        load_imagenet(self.network, pretrained)
        self.averaged = build(recipe).to(self.device).to(memory_format=torch.channels_last)
        self.averaged.load_state_dict(self.network.state_dict())
        self.weights = positive_weights(films, recipe.fit.positive_weight_cap).to(self.device)
        self.teachers = [fold(teacher).to(self.device).to(memory_format=torch.channels_last) for teacher in teachers]
        weights = [recipe.fit.key_weights.get(key, 1.0) for key in KEYS]
        self._importance = torch.tensor(weights, device=self.device)
        self._pixels, self._labels, self._believed, self._offset = (
            torch.from_numpy(values).to(self.device)
            for values in (films.pixels, films.labels, films.believed, films.offset)
        )
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
        self.optimiser = torch.optim.AdamW(
            groups, lr=phase.learning_rate, weight_decay=self.recipe.fit.weight_decay, fused=self.device.type == "cuda"
        )

    def run(self, checkpoint: Path, after_epoch: Callable[[dict[str, Any]], None]) -> None:
        """Train to the last epoch; save and call `after_epoch` with figures after each one."""
        while self.epoch < self.recipe.fit.epochs:
            figures = self._one_epoch(checkpoint)
            self.epoch, self.step = self.epoch + 1, 0
            self._losses.zero_()
            self.save(checkpoint)
            after_epoch(figures)
            if self.epoch < self.recipe.fit.epochs and self.phase[1] == 0:
                self._begin_phase()

    def save(self, checkpoint: Path) -> None:
        """Write the state of the run, of a finished one the averaged network alone.

        A crash while writing leaves the previous state.
        """
        state: dict[str, Any] = {"epoch": self.epoch, "averaged": self.averaged.state_dict()}
        if self.epoch < self.recipe.fit.epochs:
            state |= {
                "step": self.step,
                "losses": self._losses,
                "network": self.network.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            }
        partial = checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(checkpoint)

    def resume(self, checkpoint: Path) -> None:
        """Continue from a saved state."""
        state = torch.load(checkpoint, weights_only=True, map_location=self.device)
        self.epoch = int(state["epoch"])
        self.averaged.load_state_dict(state["averaged"])
        if self.epoch == self.recipe.fit.epochs:
            self.averaged.network_px = self.recipe.fit.network_px
            return
        self.step, self._losses = int(state["step"]), state["losses"]
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
            self._losses += self._step(index, torch.Generator(self.device).manual_seed(seed))
            self._average(self.phase[1] * steps + self.step)
            self.step += 1
            bar.update()
            if self.step % _SAVED_EVERY == 0 and self.device.type == "cpu":
                self.save(checkpoint)
        bar.close()
        seconds = round(time.monotonic() - began, 1)
        labels, boxes = (round(value / steps, 4) for value in self._losses.tolist())
        return {"loss": labels, "box_loss": boxes, "films": len(order), "seconds": seconds}

    def _step(self, index: NDArray[np.int64], stream: torch.Generator) -> Tensor:
        """Learn from some films; return the losses by labels and by boxes, (2,)."""
        config, fit, count, side_px = self.recipe.films, self.recipe.fit, len(index), self.phase[0].network_px
        chosen = torch.from_numpy(index).to(self.device)
        sharp = torch.from_numpy(self.films.source_px[index] > config.degraded_px).to(self.device)
        film = greys(self._pixels[chosen])
        theta = place(count, self.recipe.augment, stream)
        worse = sharp & (torch.rand(count, generator=stream, device=self.device) < config.degraded_share)
        film = augment(degrade(film, worse, config.degraded_px), theta, self.recipe.augment, side_px, stream)
        labels, believed, offset = self._labels[chosen], self._believed[chosen], self._offset[chosen]
        plain = 0
        if fit.mixup:
            plain = count // 2
            share = np.random.default_rng((self.seed, self.epoch, self.step)).beta(fit.mixup, fit.mixup, plain)
            own = torch.ones(count)
            own[:plain] = torch.from_numpy(np.maximum(share, 1 - share))
            own = own.to(self.device)
            film = torch.lerp(film.flip(0), film, each(own))
            labels, offset = (torch.lerp(value.flip(0), value, own[:, None]) for value in (labels, offset))
            believed = torch.where(own[:, None] < 1, believed * believed.flip(0), believed)
        film = film.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            taught = self._judgement(film)
            logits, evidence = self.network(film)
        loss = self._label_loss(logits, labels, believed, offset, taught)
        pointing = torch.zeros((), device=self.device)
        if fit.box_weight:
            # A mixed film has no place of its own.
            wanted, shares = covered(self.films.boxes[index[plain:]], theta[plain:], evidence.shape[-1])
            if len(wanted):
                boxed = evidence[(wanted[:, 0] + plain).to(self.device), wanted[:, 1].to(self.device)]
                pointing = _pointing_loss(boxed, shares) / count
        self.optimiser.zero_grad(set_to_none=True)
        (loss + fit.box_weight * pointing).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimiser.step()
        return torch.stack([loss.detach(), pointing.detach()])

    def _judgement(self, film: Tensor) -> Tensor | None:
        """The mean probabilities (n, outputs) that the teachers give to films."""
        if not self.teachers:
            return None
        with torch.no_grad():
            return torch.stack([teacher(film)[0].sigmoid() for teacher in self.teachers]).mean(dim=0)

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
        weights = believed * self._importance
        own = (losses * weights).sum() / weights.sum().clamp(min=1)
        if taught is None:
            return own
        # The teachers learned weighed labels without the offset, so neither comes in again.
        learned = functional.binary_cross_entropy_with_logits(logits, taught, weight=self._importance)
        learned = learned / self._importance.mean()
        return torch.lerp(own, learned, self.recipe.teachers.share)

    def _average(self, step: int) -> None:
        # A young average must forget the untrained head quickly.
        decay = min(self.recipe.fit.average_decay, (1 + step) / (10 + step))
        pairs = zip(self.averaged.state_dict().values(), self.network.state_dict().values(), strict=True)
        floating = [pair for pair in pairs if pair[0].is_floating_point()]
        with torch.no_grad():
            # One kernel and not 300.
            torch._foreach_lerp_([mean for mean, _ in floating], [value for _, value in floating], 1 - decay)
