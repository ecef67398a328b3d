"""Contrastive learning on a site's films and reports: a film comes closer to the sentences that its report says.

Both towers stay as they are. Between image embedding and sentences a map of low rank is learned
(models.medsiglip.contrast) with the pairwise sigmoid loss that the model itself was trained by (Zhai et al., ICCV 2023,
arXiv:2303.15343): each film with each sentence, z = 1 where it stands in the film's report and -1 where it does not,

    loss = sum over sentences of log(1 + exp(-z * (t * cos(x', sentence) + b))), mean over films

with t and b learned beside the map, for the loss alone. A fifth of the patients who teach choose for how many steps,
and whether at all: there is no map where their loss does not fall below what t and b reach by themselves. A sentence
that is true of a film whose report does not say it counts as false of it, the weakness of learning from reports.
"""

from __future__ import annotations

import io
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.checkpoints.known import MEDSIGLIP
from models.checkpoints.manifest import read_manifest
from models.evaluation.held_out import is_held_out
from models.evaluation.measure import OUTPUTS
from models.evaluation.metrics import Sample
from models.evaluation.paired import Row, mean_areas, paired
from models.fitting.enough import LEAST_JUDGING, LEAST_TEACHING, patients_of
from models.fitting.films import SiteFilms
from models.medsiglip.contrast import Contrast
from models.medsiglip.prompts import read_prompts
from models.medsiglip.sentences import read_sentences
from models.medsiglip.tower import embed_sentences
from worklist.terms import SENTENCE_END

import torch  # isort: skip

_LOG = logging.getLogger("models.training.contrast")
RECIPE = Path(__file__).with_name("contrast.toml")
_LEAST_SAYING = 5  # patients whose report has a sentence, and whose has not
_WORDS = range(2, 31)  # of a sentence: fewer say nothing, and the text tower reads no more

Floats = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class ContrastRecipe:
    """How the map is learned: see contrast.toml."""

    rank: int
    rate: float
    offset_rate: float
    decay: float
    films: int
    steps: int
    every: int
    sentences: int

    def __post_init__(self) -> None:
        """Refuse what learns nothing."""
        if min(self.rank, self.films, self.steps, self.every, self.sentences) < 1:
            raise ValueError("rank, films, steps, every and sentences are at least 1")
        if min(self.rate, self.offset_rate) <= 0 or self.decay < 0:
            raise ValueError("rates are above 0, decay is not below")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learned:
    """A map, float32 down (D, R) and up (R, D), its steps, and least losses of those held out, without and with it."""

    down: Floats
    up: Floats
    steps: int
    without: float
    loss: float

    @property
    def contrast(self) -> Contrast:
        """As the scorer applies it; nothing states its digest yet."""
        return Contrast(down=self.down, up=self.up, sha256="")

    def packed(self) -> bytes:
        """The arrays as contrast.npz holds them."""
        stream = io.BytesIO()
        np.savez(stream, down=self.down, up=self.up)
        return stream.getvalue()


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SiteContrast:
    """What a site's reports taught, and what the films that judge say of it.

    Attributes:
        learned: the map.
        films, patients, sentences: how many taught.
        judged: films that judge and have a report with one of the sentences.
        nearest: share of them whose nearest sentence stands in their report, without the map and with it.
        rows: by finding, area under the ROC curve of the prompts, without the map and with it.
    """

    learned: Learned
    films: int
    patients: int
    sentences: int
    judged: int
    nearest: tuple[float, float]
    rows: Sequence[Row]


def contrast_site(
    site: SiteFilms, reports: Sequence[str], model: Path, *, recipe: ContrastRecipe, threads: int = 1
) -> SiteContrast | None:
    """Learn from reports; None where they are too few or teach nothing, as the log says.

    Args:
        site: films with the embeddings by which the scorer works here, of length 1.
        reports: what the radiologist wrote of each; "" where that is not known.
        model: the folder of MedSigLIP, exported for this machine.
        recipe: how it is learned.
        threads: of the processor.

    Raises:
        ModelUnavailable: as embed_sentences.
    """
    patient = np.array([film.patient for film in site.listed])
    told = np.array([bool(sentences_of(report)) for report in reports])
    teaching, judging = told & ~site.judges, told & site.judges
    n_patients = len(set(patient[teaching]))
    sentences = common_sentences(
        [report for report, teaches in zip(reports, teaching, strict=True) if teaches],
        patient[teaching].tolist(),
        recipe.sentences,
    )
    if n_patients < LEAST_TEACHING or len(sentences) < 2:  # noqa: PLR2004 - one alone is contrasted with nothing
        if told.any():
            _LOG.info(
                "no contrast: %d patients who teach have a report, %d sentences are in enough of them",
                n_patients,
                len(sentences),
            )
        return None
    torch.set_num_threads(threads)
    texts, scale = embed_sentences(model, sentences)
    positive = stands_in(reports, sentences)
    learned = learn(
        Pairs(vectors=site.features[teaching], texts=texts, positive=positive[teaching]),
        patient[teaching].tolist(),
        scale,
        recipe,
    )
    if learned is None:
        _LOG.info("no contrast: it says no more of the patients held out")
        return None
    _LOG.info(
        "contrast: %d steps, loss of patients held out %.4f, %.4f without", learned.steps, learned.loss, learned.without
    )
    asked = judging & positive.any(axis=1)
    ways = (site.features, learned.contrast.of(site.features))
    nearest = [
        float(positive[asked][np.arange(asked.sum()), _units(vectors[asked]).dot(texts.T).argmax(axis=1)].mean())
        if asked.any()
        else float("nan")
        for vectors in ways
    ]
    prompts = read_prompts(model)
    by_prompts = read_sentences(model, read_manifest(model, MEDSIGLIP), prompts)
    logits = [by_prompts.logits(vectors) for vectors in ways]
    rows = []
    for number, pair in enumerate(prompts.pairs):
        if pair.type.key not in OUTPUTS:
            continue
        label = site.truth[:, OUTPUTS.index(pair.type.key)]
        known = site.judges & np.isfinite(label)
        if patients_of(label[known], site.patient[known]).least >= LEAST_JUDGING:
            both = [
                Sample(
                    truth=label[known] > 0,
                    probability=np.asarray(each[known, number], dtype=np.float64),
                    called=None,
                    patient=site.patient[known],
                )
                for each in logits
            ]
            rows.append(paired(pair.type.key, [(both[0], both[1])], mean_areas))
    return SiteContrast(
        learned=learned,
        films=int(teaching.sum()),
        patients=n_patients,
        sentences=len(sentences),
        judged=int(asked.sum()),
        nearest=(nearest[0], nearest[1]),
        rows=rows,
    )


def sentences_of(report: str) -> list[str]:
    """The sentences of a report as they are compared: small letters, single spaces, no mark at the end."""
    plain = (" ".join(sentence.split()).rstrip(".!?:;").lower() for sentence in SENTENCE_END.split(report))
    return [sentence for sentence in plain if len(sentence.split()) in _WORDS]


def common_sentences(reports: Sequence[str], patients: Sequence[str], most: int) -> list[str]:
    """The sentences that teach, the most frequent first: enough patients' reports have each, and enough have it not."""
    whose = {
        (sentence, patient)
        for report, patient in zip(reports, patients, strict=True)
        for sentence in sentences_of(report)
    }
    most_saying = len(set(patients)) - _LEAST_SAYING
    saying = Counter(sentence for sentence, _ in whose)
    enough = [(-count, sentence) for sentence, count in saying.items() if _LEAST_SAYING <= count <= most_saying]
    return [sentence for _, sentence in sorted(enough)[:most]]


def stands_in(reports: Sequence[str], sentences: Sequence[str]) -> Flags:
    """Which sentence (S) stands in which report: (N, S)."""
    said = [set(sentences_of(report)) for report in reports]
    return np.array([[sentence in each for sentence in sentences] for each in said])


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Pairs:
    """Films and sentences.

    Attributes:
        vectors: embeddings (N, D) of films, of length 1.
        texts: embeddings (S, D) of sentences, of length 1.
        positive: (N, S), which stand in a film's report.
    """

    vectors: Floats
    texts: Floats
    positive: Flags

    def of(self, films: Flags) -> Pairs:
        """The same sentences with some of the films (N,)."""
        return Pairs(vectors=self.vectors[films], texts=self.texts, positive=self.positive[films])


def learn(pairs: Pairs, patients: Sequence[str], scale: float, recipe: ContrastRecipe) -> Learned | None:
    """Learn the map; None where it says no more of the patients held out than scale and offset do by themselves.

    Args:
        pairs: that teach.
        patients: whose each film is.
        scale: of the checkpoint's logits, from which t begins.
        recipe: how it is learned.
    """
    held = np.array([is_held_out(f"contrast {patient}") for patient in patients])  # others than those who judge
    if held.all() or not held.any():
        return None
    losses = []
    for has_map in (False, True):
        trial, seen = _Trial(pairs.of(~held), scale, recipe, has_map=has_map), []
        for _ in range(0, recipe.steps, recipe.every):
            trial.go(recipe.every)
            seen.append(trial.loss(pairs.of(held)))
        losses.append(seen)
    without, loss = min(losses[0]), min(losses[1])
    if loss >= without:
        return None
    steps = (losses[1].index(loss) + 1) * recipe.every
    whole = _Trial(pairs, scale, recipe, has_map=True)
    whole.go(steps)
    down, up = (part.detach().numpy() for part in (whole.down, whole.up))
    return Learned(down=down, up=up, steps=steps, without=without, loss=loss)


class _Trial:
    """One run of the optimizer. It begins without a map, and with t and b that fit without one."""

    def __init__(self, pairs: Pairs, scale: float, recipe: ContrastRecipe, *, has_map: bool) -> None:
        self._draw = torch.Generator().manual_seed(0)
        self._vectors, self._texts, self._signs = _tensors(pairs)
        self._films = recipe.films
        length = pairs.vectors.shape[1]
        self.down = (torch.randn(length, recipe.rank, generator=self._draw) / length**0.5).requires_grad_()
        self.up = torch.zeros(recipe.rank, length, requires_grad=True)
        share = float(pairs.positive.mean())
        offset = np.log(share / (1 - share)) - scale * float((pairs.vectors @ pairs.texts.T).mean())
        self._scale = torch.tensor(np.log(scale), dtype=torch.float32, requires_grad=True)
        self._offset = torch.tensor(offset, dtype=torch.float32, requires_grad=True)
        groups = [{"params": [self._scale, self._offset], "lr": recipe.offset_rate, "weight_decay": 0.0}]
        if has_map:
            groups.append({"params": [self.down, self.up], "lr": recipe.rate, "weight_decay": recipe.decay})
        self._optimizer = torch.optim.AdamW(groups)

    def go(self, steps: int) -> None:
        """So many steps further."""
        for _ in range(steps):
            drawn = torch.randperm(len(self._vectors), generator=self._draw)[: self._films]
            self._optimizer.zero_grad()
            self._loss(self._vectors[drawn], self._signs[drawn]).backward()
            self._optimizer.step()

    @torch.no_grad()
    def loss(self, pairs: Pairs) -> float:
        """Of other films with the same sentences."""
        vectors, _, signs = _tensors(pairs)
        return float(self._loss(vectors, signs))

    def _loss(self, vectors: torch.Tensor, signs: torch.Tensor) -> torch.Tensor:
        mapped = torch.nn.functional.normalize(vectors + vectors @ self.down @ self.up, dim=1)
        logits = self._scale.exp() * mapped @ self._texts.T + self._offset
        return torch.nn.functional.softplus(-signs * logits).sum(dim=1).mean()


def _tensors(pairs: Pairs) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Vectors and sentences, and 1 or -1 for each pair."""
    signs = torch.from_numpy(pairs.positive).float() * 2 - 1
    return torch.from_numpy(pairs.vectors), torch.from_numpy(pairs.texts), signs


def _units(vectors: Floats) -> Floats:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)
