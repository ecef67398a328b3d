"""Scorers and explainers: pixels to findings to words."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from models.context import NO_CONTEXT, StudyContext
from worklist.card import ScorerCard
from worklist.finding import Algorithm, Analysis, ImageReference
from worklist.triage import Triage

if TYPE_CHECKING:  # the protocols alone need no numpy
    from imaging.radiograph import Radiograph

# ONNX Runtime reports to its maker unless this is set before it is imported; a hospital reports nothing.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class Scorer(Protocol):
    """Scores one image."""

    @property
    def card(self) -> ScorerCard:
        """What is known of its outputs."""

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, weights digest and device UID."""

    @property
    def model_size_mb(self) -> float:
        """Size of the weights in megabytes (10^6 bytes)."""

    def score(self, radiograph: Radiograph) -> Analysis:
        """Findings, score and quality of an image.

        Raises:
            UnusableImage: the image cannot be judged; its code and message say why.
            ModelUnavailable: the model could not run.
        """


class Explainer(Protocol):
    """Adds words, and may add boxes, to an Analysis."""

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, digest and device UID of what writes the explanation."""

    def explain(
        self,
        analysis: Analysis,
        triage: Triage,
        radiographs: Callable[[ImageReference], Radiograph],
        context: StudyContext = NO_CONTEXT,
    ) -> Analysis:
        """The Analysis with its explanation and snippets.

        Args:
            analysis: what the scorer found on all images of the study.
            triage: what the triage rule made of it: which findings may be put into words.
            radiographs: gives an image of the study; it is fetched and decoded only where it is asked for.
            context: reason, earlier films and reports, and whether a slow model is to be asked at all.

        Raises:
            ModelUnavailable: the model could not run.
        """
