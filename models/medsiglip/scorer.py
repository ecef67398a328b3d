"""The scorer `medsiglip`: google/medsiglip-448 looks at a film, and sentences say what it sees, without training.

The vision tower gives the film one embedding and each patch of it another. Both are held against the embeddings of a
pair of sentences for each finding (models.medsiglip.prompts): the film's says how probable the finding is, those of
the patches where it lies. What reports taught (models.medsiglip.contrast) stands between embeddings and sentences, and
a trained probe beside the checkpoint takes the place of the sentences for its findings.
"""

from __future__ import annotations

import hashlib
import math
import time
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from imaging.radiograph import Radiograph
from models.checkpoints.known import MEDSIGLIP
from models.checkpoints.manifest import Manifest, read_manifest, verified
from models.medsiglip.backends import Backend, Torch
from models.medsiglip.card import card_of
from models.medsiglip.contrast import read_contrast
from models.medsiglip.exported import load_exported, read_exported
from models.medsiglip.pixels import to_input
from models.medsiglip.probe import URGENT, read_probe
from models.medsiglip.prompts import PromptPair, read_prompts
from models.medsiglip.sentences import read_sentences
from models.regions import localize
from models.steps import Steps, image_in_words, scores_in_words
from worklist.card import ScorerCard
from worklist.errors import ModelUnavailable
from worklist.finding import Algorithm, Analysis, Finding
from worklist.step import StepName
from worklist.uids import device_uid

Device = Literal["cpu", "cuda"]

_SIZE_PX: Final = 448
_URGENT_WEIGHT: Final = 0.5  # harm of waiting from which a finding is an urgent one

Floats = npt.NDArray[np.float32]


class MedSiglipScorer:
    """Scores images with the checkpoint in a folder.

    Args:
        folder: of the checkpoint, its manifest and what `firstread models export medsiglip` made of it. On a CPU the
            manifest and that are enough, and torch is not needed.
        threads: CPU threads an image may take.
        device: "cpu" runs what was exported, "cuda" the checkpoint itself.
        beside: the folder of a probe, a contrast and a card; the checkpoint's where it is not given.

    Raises:
        ModelUnavailable: one line that says what is missing or differs, and what to do.
    """

    def __init__(self, folder: Path, *, threads: int = 1, device: Device = "cpu", beside: Path | None = None) -> None:
        prompts = read_prompts(folder)
        manifest: Manifest
        self._backend: Backend
        if device == "cpu":
            manifest = read_manifest(folder, MEDSIGLIP)
            exported = read_exported(folder, manifest)
            sha256, how, self._size_px = exported.sha256, exported.kept.removeprefix("onnxruntime-"), exported.size_px
            self._model_size_mb = exported.size_mb
            self._sentences = read_sentences(folder, manifest, prompts)
            self._backend = load_exported(folder, exported, threads=threads)
        else:
            manifest = verified(folder, MEDSIGLIP)
            sha256, how, self._size_px = manifest.sha256, "cuda", _SIZE_PX
            self._model_size_mb = sum(file.size for file in manifest.files.values()) / 1e6
            self._sentences = read_sentences(folder, manifest, prompts)
            self._backend = Torch(folder, device=device, threads=threads)
        self._beside, self._prompts, self._threads = beside or folder, prompts, threads
        length = self._sentences.directions.shape[1]
        self._probe, self._contrast = read_probe(self._beside, length), read_contrast(self._beside, length)
        self._is_stand_in = manifest.is_stand_in
        parts = [manifest.short_revision, f"prompts {prompts.version} {prompts.sha256[:7]}", how]
        digests = [sha256, prompts.sha256]
        for name, taught in (("probe", self._probe), ("contrast", self._contrast)):
            if taught:
                parts.append(f"{name} {taught.sha256[:7]}")
                digests.append(taught.sha256)
        digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
        self._algorithm = Algorithm(
            name="medsiglip-stand-in" if manifest.is_stand_in else "medsiglip-448",
            version=", ".join(parts),
            sha256=digest,
            device_uid=device_uid(digest),
        )

    @cached_property
    def card(self) -> ScorerCard:
        """What is known of its outputs.

        Raises:
            ModelUnavailable: as models.medsiglip.card.card_of.
        """
        return card_of(self._beside, self._algorithm, self._prompts, self._probe, is_stand_in=self._is_stand_in)

    @property
    def algorithm(self) -> Algorithm:
        """Name, version (revision, prompts, what runs it, probe, contrast), one digest of all of these, and device UID.

        Sentences are to this model what the last layer is to another, so the digest is that of the list of the digests
        of the weights that run, of the prompts, of the probe and of the contrast, a line each.
        """
        return self._algorithm

    @property
    def model_size_mb(self) -> float:
        """Size of the weights in megabytes (10^6 bytes)."""
        return self._model_size_mb

    def embedding(self, radiograph: Radiograph) -> Floats:
        """What a probe is fitted to: the image's embedding, float32 (D,), of length 1.

        Raises:
            ModelUnavailable: as score.
        """
        film, _ = to_input(radiograph, self._size_px, self._prompts.resize, threads=self._threads)
        vector = _usable(self._backend.run(film)[0][0])
        return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)

    def score(self, radiograph: Radiograph) -> Analysis:
        """Probabilities of the findings, with boxes and sides where their evidence has a place.

        The score is the highest probability of an urgent finding, one whose weight is at least one half, or the
        probe's own where it has one for them together.

        Raises:
            ModelUnavailable: model_failed, it did not run or gave no finite numbers; out_of_memory on a GPU.
        """
        started, steps = time.perf_counter(), Steps()
        with steps.step(StepName.SCORE, image_in_words(radiograph), raising=Exception) as outcome:
            film, geometry = to_input(radiograph, self._size_px, self._prompts.resize, threads=self._threads)
            images, patches = self._backend.run(film)
            probabilities = self._probabilities(images[0])
            urgent = [probabilities[pair.type.key] for pair in self._prompts.pairs if pair.weight >= _URGENT_WEIGHT]
            score = probabilities.get(URGENT, max(urgent, default=0.0))
            found = self._findings(probabilities)
            outcome.end(scores_in_words(found, score))
        logits: list[Floats] = []  # (P, K) of the patches, in reading order, once a finding needs them

        def evidence_of(finding: Finding) -> Floats | None:
            number, pair = next(one for one in enumerate(self._prompts.pairs) if one[1].type == finding.type)
            if not pair.has_boxes:
                return None
            if not logits:
                logits.append(self._logits(patches[0]))
            cells = math.isqrt(len(logits[0]))
            return logits[0][:, number].reshape(cells, cells) * np.float32(pair.scale)

        findings = localize(found, evidence_of, geometry, radiograph=radiograph, steps=steps)
        now = datetime.now(UTC)
        return Analysis(
            images=(radiograph.image,),
            scorer=self._algorithm,
            findings=findings,
            score=score,
            threshold=self._urgent_threshold,
            completed_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
            elapsed_ms=(time.perf_counter() - started) * 1000,
            quality=radiograph.quality,
            steps=tuple(steps.taken),
        )

    def _probabilities(self, embedding: Floats) -> dict[str, float]:
        """Of each finding by its key, and of urgency where the probe knows it; embedding (D,)."""
        logits = self._logits(_usable(embedding)[None])[0]
        probabilities = {
            pair.type.key: pair.probability(float(logit))
            for pair, logit in zip(self._prompts.pairs, logits, strict=True)
        }
        return probabilities | (self._probe.probabilities(embedding) if self._probe else {})

    def _logits(self, embeddings: Floats) -> Floats:
        """Logits (n, K) of the pairs of sentences for embeddings (n, D)."""
        return self._sentences.logits(self._contrast.of(embeddings) if self._contrast else embeddings)

    @property
    def _urgent_threshold(self) -> float:
        head = self._probe.head(URGENT) if self._probe else None
        return head.threshold if head else 0.5

    def _threshold(self, pair: PromptPair) -> float:
        head = self._probe.head(pair.type.key) if self._probe else None
        return head.threshold if head else pair.threshold

    def _findings(self, probabilities: dict[str, float]) -> tuple[Finding, ...]:
        """The findings without their places, most probable first."""
        return tuple(
            Finding(type=pair.type, probability=probabilities[pair.type.key], threshold=self._threshold(pair))
            for pair in sorted(self._prompts.pairs, key=lambda pair: -probabilities[pair.type.key])
        )


def _usable(embedding: Floats) -> Floats:
    """An embedding (D,) that has a direction."""
    if not np.isfinite(embedding).all() or not embedding.any():
        raise ModelUnavailable("model_failed", "MedSigLIP gave no usable numbers for this image.")
    return embedding
