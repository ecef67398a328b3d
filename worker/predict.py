"""From a file's bytes to a prediction: the one way of POST /predict and of `firstread triage`."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset

from imaging.display import to_display
from imaging.files import read_image, reading_dicom
from imaging.headers import scope_texts
from imaging.radiograph import Radiograph, read_radiograph
from imaging.wrapping import is_wrapped
from models import Explainer, Scorer
from models.context import StudyContext
from worker.failures import log_failure
from worklist.answers import finding_answer, model_answer
from worklist.errors import FirstreadError, OutOfScope
from worklist.finding import DISCLAIMER, Analysis, Region
from worklist.job import Queue
from worklist.notes.answers import note_answer
from worklist.notes.film import FilmFacts, age_of, named_findings
from worklist.notes.reading import NoteReading, read_note
from worklist.records import JobRecords, PredictionRecords
from worklist.scope import ScopeRules, assess_scope
from worklist.triage import Triage, TriagePolicy, Urgency, assess

if TYPE_CHECKING:  # a worker without a language model does without it
    from models.medgemma.notes import NoteSummarizer

_PATIENT_KEYWORDS = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge")
_NOTHING = "{}"
_FILM_PX = 1024
_CROP_PX = 320
_CROP_MARGIN = 0.15  # of the box's longer side, on each side of the box


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """An explained Analysis of one image, and what the triage rule makes of it.

    Attributes:
        analysis: what the models say.
        triage: whether it is flagged, and which findings may be shown and named.
        radiograph: what they said it of.
        threshold: the harm from which an image is flagged.
        model_size_mb: size of the scorer's weights in megabytes (10^6 bytes).
        note: what the note beside it states; None where there is none.
        note_words: what a language model adds to that; None where none is asked.
    """

    analysis: Analysis
    triage: Triage
    radiograph: Radiograph
    threshold: float
    model_size_mb: float
    note: NoteReading | None = None
    note_words: Mapping[str, Any] | None = None

    def to_json(self, pictures_path: str | None = None) -> dict[str, Any]:
        """The object of POST /predict; boxes are in pixels of the source image.

        Boxes have a name, so there are boxes of named findings alone, and of these as Analysis.box_of has them.

        Args:
            pictures_path: where film.png and crop-1.png ... are served; None where nobody serves them.
        """
        analysis, triage = self.analysis, self.triage
        shown = {finding.type.key for finding in triage.shown}
        named = {one.finding.type.key for one in triage.named}
        return {
            "label": "Non-Urgent" if triage.urgency is Urgency.NONE else "Urgent",
            "urgency": triage.urgency,
            "score": analysis.score,
            "harm": triage.harm,
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
            "image": pictures_path and f"{pictures_path}/film.png",
            "rows": analysis.image.rows,
            "columns": analysis.image.columns,
            "provenance": [{"source": snippet.source, "snippet": snippet.snippet} for snippet in analysis.snippets],
            "findings": [
                finding_answer(
                    finding,
                    side=analysis.side_of(finding),
                    is_named=finding.type.key in named,
                    is_shown=finding.type.key in shown,
                )
                for finding in analysis.findings
            ],
            "quality": {note.code: note.message for note in analysis.quality},
            "model": model_answer(analysis.scorer),
            "elapsed_ms": analysis.elapsed_ms,
            "model_size_mb": self.model_size_mb,
            "text": note_answer(self.note, self.note_words) if self.note else None,
            "disclaimer": DISCLAIMER,
        }

    def pictures(self) -> list[bytes]:
        """The whole image, at most 1024 pixels long, then each box with a margin, at most 320, all as PNG."""
        pixels = to_display(self.radiograph)
        return [_png(pixels, _FILM_PX), *(_png(_cut(pixels, box), _CROP_PX) for _, box in self._boxes())]

    def _boxes(self) -> Iterator[tuple[str, Region]]:
        by_kind = {finding.type.key: finding for finding in self.analysis.findings}
        for named in self.triage.named:
            finding = by_kind[named.finding.type.key]  # an explainer may have added its box
            if box := self.analysis.box_of(finding):
                yield finding.type.label, box


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictor:
    """The models, and what they look at."""

    scorer: Scorer
    explainer: Explainer
    scope: ScopeRules

    def predict(
        self,
        file: BinaryIO,
        name: str,
        policy: TriagePolicy,
        prior_reports: tuple[tuple[str, str], ...] = (),
        note: str = "",
    ) -> Prediction:
        """Judge one DICOM, PNG or JPEG file.

        Args:
            file: the image, from its first byte on.
            name: what messages call it.
            policy: the triage policy by which it is judged, of this scorer.
            prior_reports: pairs of (source, text) of earlier reports, newest first.
            note: a clinical note beside it: what it asks about is answered first.

        Raises:
            InvalidInput: it is no image, or a broken one, or the note is too long.
            OutOfScope: it is none that may be judged.
            UnusableImage: it cannot be judged.
            ModelUnavailable: a model could not run.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pydicom's quote the header
            dataset = read_image(file, name)
            with reading_dicom(name):
                header = scope_texts(dataset)
                patient = _patient(dataset)
        refused = assess_scope(header, self.scope)
        if refused:
            raise OutOfScope(refused.code, refused.message)
        radiograph = read_radiograph(dataset)
        scored = self.scorer.score(radiograph)
        triage = assess(scored, policy)
        context = StudyContext(prior_reports=prior_reports, note=note)
        film = replace(patient, named=named_findings(scored, triage))
        return Prediction(
            analysis=self.explainer.explain(scored, triage, lambda _: radiograph, context),
            note=read_note(note, film=film) if note else None,
            triage=triage,
            radiograph=radiograph,
            threshold=policy.flag_from,
            model_size_mb=self.scorer.model_size_mb,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictPipeline:
    """What judges uploads, put together once a process.

    Attributes:
        jobs: knows the policy in force, and what is looked at.
        predictions: the uploads, and what comes of them.
        load_predictor: gives the models, the same each time; what they look at is asked of the records.
        summarizer: asks a language model about notes; None where the site has none.
    """

    jobs: JobRecords
    predictions: PredictionRecords
    load_predictor: Callable[[], Predictor]
    summarizer: NoteSummarizer | None = None

    def run(self, prediction_id: str) -> None:
        """Judge an upload, a film or a note alone; neither what it holds nor what comes of it is logged."""
        if not self.predictions.take(prediction_id, datetime.now(UTC)):
            return
        try:
            if not self.predictions.files.has_film(prediction_id) and self.summarizer is not None:
                reading = read_note(self.predictions.files.note(prediction_id) or "")
                words = json.dumps(self.summarizer.answer(reading))
                self.predictions.complete(prediction_id, _NOTHING, [], reading=words)
                return
            predictor = replace(self.load_predictor(), scope=self.jobs.choices().scope)
            policy = self.jobs.policy_of(predictor.scorer.card)
            prior_report = self.predictions.files.prior_report(prediction_id)
            prior_reports = (("prior_report", prior_report),) if prior_report else ()
            note = self.predictions.files.note(prediction_id) or ""
            with self.predictions.files.film(prediction_id) as film:
                prediction = predictor.predict(film, "the upload", policy, prior_reports, note)
            if prediction.note and self.summarizer is not None:
                prediction = replace(prediction, note_words=self.summarizer.answer(prediction.note))
            result = prediction.to_json(f"/predict/{prediction_id}")
            told = json.dumps(result["text"]) if prediction.note else None
            document = json.dumps(result | {"text": None})  # no word of a note goes into the database
            self.predictions.complete(prediction_id, document, prediction.pictures(), reading=told)
        except FirstreadError as error:
            self.predictions.fail(prediction_id, error)
        except Exception as error:  # noqa: BLE001 - whoever waits is answered, whatever happens
            self.predictions.fail(prediction_id, log_failure(Queue.PREDICT, error))


def _patient(dataset: Dataset) -> FilmFacts:
    """What a header says of its patient; nothing where the film was a picture, which has no header."""
    keywords = () if is_wrapped(dataset) else _PATIENT_KEYWORDS
    said = {keyword: str(dataset.get(keyword) or "") if keyword in keywords else "" for keyword in _PATIENT_KEYWORDS}
    return FilmFacts(
        named=None,
        patient_name=said["PatientName"],
        patient_id=said["PatientID"],
        birth_date=said["PatientBirthDate"],
        sex=said["PatientSex"],
        age=age_of(said["PatientAge"]),
    )


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
