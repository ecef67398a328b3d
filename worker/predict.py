"""From a file's bytes to a prediction: the one way of POST /predict and of `firstread triage`."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.multival import MultiValue

from imaging.display import to_display
from imaging.files import read_image, reading_dicom
from imaging.radiograph import Radiograph, read_radiograph
from models import Explainer, Scorer
from worklist.errors import OutOfScope
from worklist.finding import DISCLAIMER, Analysis, Region
from worklist.scope import HEADER_KEYWORDS, ScopeRules, assess_scope
from worklist.urgency import Urgency, UrgencyPolicy, assess_urgency

_FILM_PX = 1024
_CROP_PX = 320
_CROP_MARGIN = 0.15  # of the box's longer side, on each side of the box


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """An explained Analysis of one film, by the site's thresholds.

    Attributes:
        analysis: what the models say.
        film: what they said it of.
        urgency: the class that the reading list would show.
        threshold: the score from which a film is urgent.
        model_size_mb: size of the scorer's weights in megabytes (10^6 bytes).
    """

    analysis: Analysis
    film: Radiograph
    urgency: Urgency
    threshold: float
    model_size_mb: float

    def to_json(self, pictures_path: str | None = None) -> dict[str, Any]:
        """The object of POST /predict; boxes are in pixels of the source image.

        Args:
            pictures_path: where film.png and crop-1.png ... are served; None where nobody serves them.
        """
        analysis = self.analysis
        return {
            "label": "Non-Urgent" if self.urgency is Urgency.ROUTINE else "Urgent",
            "urgency": self.urgency,
            "score": analysis.score,
            "threshold": self.threshold,
            "explanation": analysis.explanation,
            "crops": [
                {
                    "x": box.x,
                    "y": box.y,
                    "w": box.width,
                    "h": box.height,
                    "thumb_path": pictures_path and f"{pictures_path}/crop-{position}.png",
                    "finding": name,
                }
                for position, (name, box) in enumerate(self._boxes(), start=1)
            ],
            "image": {
                "rows": analysis.image.rows,
                "columns": analysis.image.columns,
                "film_path": pictures_path and f"{pictures_path}/film.png",
            },
            "provenance": [{"source": snippet.source, "snippet": snippet.snippet} for snippet in analysis.snippets],
            "findings": [
                {
                    "name": finding.type.label,
                    "code": finding.type.code.value,
                    "scheme": finding.type.code.scheme,
                    "probability": finding.probability,
                    "threshold": finding.threshold,
                    "side": finding.side,
                }
                for finding in analysis.findings
            ],
            "quality": {note.code: note.message for note in analysis.quality},
            "model": {
                "name": analysis.scorer.name,
                "version": analysis.scorer.version,
                "sha256": analysis.scorer.sha256,
            },
            "elapsed_ms": analysis.elapsed_ms,
            "model_size_mb": self.model_size_mb,
            "disclaimer": DISCLAIMER,
        }

    def pictures(self) -> list[bytes]:
        """The whole film, at most 1024 pixels long, then each box with a margin, at most 320, all as PNG."""
        pixels = to_display(self.film)
        return [_png(pixels, _FILM_PX), *(_png(_cut(pixels, box), _CROP_PX) for _, box in self._boxes())]

    def _boxes(self) -> Iterator[tuple[str, Region]]:
        for finding in self.analysis.findings:
            if finding.region:
                yield finding.type.label, finding.region


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """The models, and the site's choices of what they look at and what is urgent."""

    scorer: Scorer
    explainer: Explainer
    urgency: UrgencyPolicy
    scope: ScopeRules

    def predict(self, file: BinaryIO, name: str, prior_reports: tuple[tuple[str, str], ...] = ()) -> Prediction:
        """Judge one DICOM, PNG or JPEG file.

        Args:
            file: the image, from its first byte on.
            name: what messages call it.
            prior_reports: pairs of (source, text) of earlier reports, newest first.

        Raises:
            InvalidInput: it is no image, or a broken one.
            OutOfScope: it is none that may be judged.
            UnusableImage: its film cannot be judged.
            ModelUnavailable: a model could not run.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pydicom's quote the header
            dataset = read_image(file, name)
            with reading_dicom(name):
                header = dict(_header(dataset))
        refused = assess_scope(header, self.scope)
        if refused:
            raise OutOfScope(refused.code, refused.message)
        film = read_radiograph(dataset)
        analysis = self.explainer.explain(self.scorer.score(film), film, prior_reports)
        return Prediction(
            analysis=analysis,
            film=film,
            urgency=assess_urgency(analysis, self.urgency),
            threshold=self.urgency.urgent_from(analysis),
            model_size_mb=self.scorer.model_size_mb,
        )


def _header(dataset: Dataset) -> Iterator[tuple[str, str]]:
    for keyword in HEADER_KEYWORDS:
        value = dataset.get(keyword)
        if value is not None:
            yield keyword, "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value)


def _cut(pixels: npt.NDArray[np.uint8], box: Region) -> npt.NDArray[np.uint8]:
    margin = round(_CROP_MARGIN * max(box.width, box.height))
    return pixels[
        max(box.y - margin, 0) : box.y + box.height + margin, max(box.x - margin, 0) : box.x + box.width + margin
    ]


def _png(pixels: npt.NDArray[np.uint8], longest_px: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((longest_px, longest_px), Image.Resampling.HAMMING)
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=1)  # someone waits for it, and it is soon erased
    return stream.getvalue()
