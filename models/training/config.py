"""The recipe as immutable values, read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class FilmsConfig:
    """Which films are seen, at what size, and which labels of them are believed.

    `chosen_source` names a collection whose films were chosen by label, so that their prevalence
    is no population's. For its films, `masked_keys` leave the loss, and `shifted_keys` stay in it
    with the difference of log-odds added to the logit, as in Menon et al., ICLR 2021
    (arXiv:2007.07314): the offset explains the prevalence, and the network need not learn to
    tell the collection apart. Where `chosen_learned` is false they are not learned from at all.
    """

    cached_px: int
    chosen_source: str
    chosen_learned: bool
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
class TeacherConfig:
    """A network trained by labels alone: its seed, and by section and key what it does unlike the shipped one."""

    seed: int
    changes: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TeachersConfig:
    """The networks whose mean judgement the shipped one learns beside the labels; `share` is their part of the loss.

    Their judgement is less noisy than a label mined from a report, and it is there for labels that are not believed
    (Hinton et al., arXiv:1503.02531).
    """

    share: float
    each: Sequence[TeacherConfig]


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

    def of(self, teacher: TeacherConfig) -> Recipe:
        """Return the recipe by which a teacher is trained, which has no teachers itself."""
        document = {**self.as_dict(), "teachers": {"share": 0.0, "each": []}}
        for section, changes in teacher.changes.items():
            document[section] = {**document[section], **changes}
        return _read(document, f"teacher {teacher.seed}")


_SECTIONS = {
    "films": FilmsConfig,
    "network": NetworkConfig,
    "fit": FitConfig,
    "teachers": TeachersConfig,
    "augment": AugmentConfig,
}


def load_recipe(file: Path) -> Recipe:
    """Read a recipe.

    Raises:
        ValueError: A section or a key is missing, unknown or out of range, or two teachers have one seed.

    """
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    recipe = _read(document, str(file))
    for teacher in recipe.teachers.each:
        recipe.of(teacher)
    return recipe


def _read(document: Mapping[str, Any], where: str) -> Recipe:
    if set(document) != set(_SECTIONS):
        message = f"{where}: sections must be {sorted(_SECTIONS)}, found {sorted(document)}"
        raise ValueError(message)
    for section, kind in _SECTIONS.items():
        wanted = {field.name for field in fields(kind)}
        if set(document[section]) != wanted:
            message = f"{where}: [{section}] must have exactly {sorted(wanted)}"
            raise ValueError(message)
    return Recipe(
        films=FilmsConfig(**document["films"]),
        network=NetworkConfig(**document["network"]),
        fit=FitConfig(**document["fit"]),
        teachers=_teachers(document["teachers"], where),
        augment=AugmentConfig(**document["augment"]),
    )


def _teachers(section: Mapping[str, Any], where: str) -> TeachersConfig:
    each = []
    for given in section["each"]:
        changes = {key: value for key, value in given.items() if key != "seed"}
        if "seed" not in given or not set(changes) <= set(_SECTIONS) - {"teachers"}:
            message = f"{where}: a teacher has a seed and changes to sections, not {sorted(given)}"
            raise ValueError(message)
        # Its lessons are about the films and labels of the network it teaches.
        if not set(changes.get("films", {})) <= {"chosen_learned"}:
            message = f"{where}: teacher {given['seed']} may change chosen_learned of [films] and nothing else there"
            raise ValueError(message)
        each.append(TeacherConfig(seed=given["seed"], changes=changes))
    if len({teacher.seed for teacher in each}) < len(each):
        message = f"{where}: two teachers have one seed"
        raise ValueError(message)
    return TeachersConfig(share=section["share"], each=each)
