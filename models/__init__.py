"""Scorers and explainers: pixels to findings to words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from worklist.finding import Algorithm, Analysis

if TYPE_CHECKING:  # the protocols alone need no numpy
    from imaging.radiograph import Radiograph

# ONNX Runtime reports to its maker unless this is set before it is imported; a hospital reports nothing.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


class Scorer(Protocol):
    """Scores one film."""

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, weights digest and device UID."""

    @property
    def model_size_mb(self) -> float:
        """Size of the weights in megabytes (10^6 bytes)."""

    def score(self, film: Radiograph) -> Analysis:
        """Findings, score and quality of a film.

        Raises:
            UnusableImage: the film cannot be judged; its code and message say why.
            ModelUnavailable: the model could not run.
        """


class Explainer(Protocol):
    """Adds words, and may add boxes, to an Analysis."""

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, digest and device UID of what writes the explanation."""

    def explain(
        self, analysis: Analysis, film: Radiograph, prior_reports: tuple[tuple[str, str], ...] = ()
    ) -> Analysis:
        """The Analysis with its explanation and snippets.

        Args:
            analysis: what the scorer found.
            film: the film it found it on.
            prior_reports: pairs of (source, text) of earlier reports, newest first.

        Raises:
            ModelUnavailable: the model could not run.
        """
