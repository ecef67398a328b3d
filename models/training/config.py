"""The recipe as immutable values, read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CollectionConfig:
    """A collection whose films were chosen by label, so that their prevalence is no population's.

    `source` is part of its name in the manifest. For its films, `masked_keys` leave the loss, and `shifted_keys` stay
    in it with the difference of log-odds added to the logit, as in Menon et al., ICLR 2021 (arXiv:2007.07314): the
    offset explains the prevalence, and the network need not learn to tell the collection apart. An epoch sees each of
    its films `draws` times, whatever the labels; where that is 0, as often as any other film.
    """

    source: str
    masked_keys: list[str]
    shifted_keys: list[str]
    draws: int


@dataclass(frozen=True, kw_only=True)
class FilmsConfig:
    """Which films are seen, at what size, and which labels of them are believed.

    `chosen_learned` says whether films of `collections` are learned from at all. Films of one patient in `folds` are
    held out; 0 holds out none. Of the films that are sharper than `degraded_px`, a share of `degraded_share` is
    brought to that size and back, whatever the labels. `doubted_label` is what a label of an opacity becomes where a
    radiologist saw none.
    """

    cached_px: int
    folds: int
    degraded_px: int
    degraded_share: float
    doubted_label: float
    kept_negatives: float
    chosen_learned: bool
    collections: Sequence[CollectionConfig]

    def __post_init__(self) -> None:
        """Reject a share that is none."""
        if not 0 < self.kept_negatives <= 1:
            message = f"kept_negatives is a share in (0, 1], not {self.kept_negatives}"
            raise ValueError(message)


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Shape of the network; see `network.ChestNetwork`."""

    size: str
    pooling: float
    output_stride: int
    dropout: float
    stochastic_depth: float


@dataclass(frozen=True, kw_only=True)
class PhaseConfig:
    """Some epochs at one size; `frozen_blocks` counts blocks kept as they were when the phase began."""

    epochs: int
    network_px: int
    frozen_blocks: int
    learning_rate: float
    warmup_epochs: float
    decay_epochs: float


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """Optimiser, schedule and loss.

    `mixup` is the parameter of the Beta distribution by which the first half of a batch is mixed with the other (Zhang
    et al., ICLR 2018, arXiv:1710.09412); 0 mixes none. `box_weight` is that of a reader's box beside a film's labels,
    `key_weights` those of labels that weigh more than the others.
    """

    batch: int
    weight_decay: float
    average_decay: float
    positive_weight_cap: float
    label_smoothing: float
    mixup: float
    box_weight: float
    key_weights: Mapping[str, float]
    threads: int
    phases: Sequence[PhaseConfig]

    @property
    def epochs(self) -> int:
        """Epochs of all phases."""
        return sum(phase.epochs for phase in self.phases)

    @property
    def network_px(self) -> int:
        """Side of the film inside the network at the end."""
        return self.phases[-1].network_px


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """A network trained by labels alone: its seed, and by section and key what it does unlike the shipped one."""

    seed: int
    changes: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class TeachersConfig:
    """The networks whose mean judgement the shipped one learns beside the labels; `share` is their part of the loss.

    They judge each film as it was changed for the network they teach (Beyer et al., CVPR 2022, arXiv:2106.05237), so
    that what they know by heart of a film is no lesson. Their judgement is less noisy than a label mined from a
    report, and it is there for labels that are not believed (Hinton et al., arXiv:1503.02531).
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
    marker: float
    flip: float


_Part = TypeVar("_Part", CollectionConfig, PhaseConfig)
_NO_TEACHERS = {"share": 0.0, "each": []}


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
        document = {**self.as_dict(), "teachers": _NO_TEACHERS}
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
    collections = [_part(CollectionConfig, each, f"{where}: a collection") for each in document["films"]["collections"]]
    phases = [_part(PhaseConfig, each, f"{where}: a phase") for each in document["fit"]["phases"]]
    return Recipe(
        films=FilmsConfig(**{**document["films"], "collections": collections}),
        network=NetworkConfig(**document["network"]),
        fit=FitConfig(**{**document["fit"], "phases": phases}),
        teachers=_teachers(document["teachers"], where),
        augment=AugmentConfig(**document["augment"]),
    )


def _part(kind: type[_Part], given: Mapping[str, Any], what: str) -> _Part:
    wanted = {field.name for field in fields(kind)}
    if set(given) != wanted:
        message = f"{what} must have exactly {sorted(wanted)}"
        raise ValueError(message)
    return kind(**given)


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
