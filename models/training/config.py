"""The recipe as immutable values, read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FilmsConfig:
    """Which films are seen, at what size, and which labels of them are believed.

    `chosen_source` names a collection whose films were chosen by label, so that their prevalence
    is no population's. For its films, `masked_keys` leave the loss, and `shifted_keys` stay in it
    with the difference of log-odds added to the logit, as in Menon et al., ICLR 2021
    (arXiv:2007.07314): the offset explains the prevalence, and the network need not learn to
    tell the collection apart.
    """

    cached_px: int
    chosen_source: str
    masked_keys: list[str]
    shifted_keys: list[str]
    kept_negatives: float

    def __post_init__(self) -> None:
        """Reject a share that is none."""
        if not 0 < self.kept_negatives <= 1:
            message = f"kept_negatives is a share in (0, 1], not {self.kept_negatives}"
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network; `frozen_blocks` counts blocks kept as ImageNet left them."""

    network_px: int
    output_stride: int
    frozen_blocks: int
    dropout: float
    stochastic_depth: float


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Optimiser, schedule and loss.

    `mixup` is the parameter of the Beta distribution from which two films are mixed (Zhang et al., ICLR 2018,
    arXiv:1710.09412); 0 mixes none.
    """

    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    warmup_epochs: float
    decay_epochs: float
    average_decay: float
    positive_weight_cap: float
    label_smoothing: float
    mixup: float
    threads: int


@dataclass(frozen=True, kw_only=True)
class TeachersConfig:
    """The networks whose mean judgement the shipped one learns beside the labels; none with no seeds.

    They are trained as it is, by labels alone, from their own seeds. Their judgement is less noisy than a label mined
    from a report, and it is there for labels that are not believed (Hinton et al., arXiv:1503.02531).
    """

    seeds: list[int]
    share: float
    epochs: int


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Ranges of the random changes made to a training film; see `films.augment`."""

    rotation_deg: float
    scale: float
    shift: float
    stretch: float
    gamma: float
    contrast: float
    brightness: float
    blur: float
    noise: float
    flip: float


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the weights, the films and the seed excepted."""

    films: FilmsConfig
    network: NetworkConfig
    fit: FitConfig
    teachers: TeachersConfig
    augment: AugmentConfig

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, as written to the log and the sidecar."""
        return asdict(self)


def load_recipe(file: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ValueError: A section or a key is missing, unknown or out of range.

    """
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    kinds = {
        "films": FilmsConfig,
        "network": NetworkConfig,
        "fit": FitConfig,
        "teachers": TeachersConfig,
        "augment": AugmentConfig,
    }
    if set(document) != set(kinds):
        message = f"{file}: sections must be {sorted(kinds)}, found {sorted(document)}"
        raise ValueError(message)
    for section, kind in kinds.items():
        wanted = {field.name for field in fields(kind)}
        if set(document[section]) != wanted:
            message = f"{file}: [{section}] must have exactly {sorted(wanted)}"
            raise ValueError(message)
    return Recipe(
        films=FilmsConfig(**document["films"]),
        network=NetworkConfig(**document["network"]),
        fit=FitConfig(**document["fit"]),
        teachers=TeachersConfig(**document["teachers"]),
        augment=AugmentConfig(**document["augment"]),
    )
