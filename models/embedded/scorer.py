"""The embedded scorer: a small network shipped with Firstread, on the CPU, in milliseconds.

The file embedded.onnx takes `film` (N, 1, S, S), 0..1, and gives `logits` (N, K + 1), K findings and urgency, and
`evidence` (N, K, h, w), class activation maps whose mean plus a bias is the logit (Zhou et al., CVPR 2016,
arXiv:1512.04150). embedded.json beside it lists the outputs in the network's order, each with its calibration, its
operating point and whether it gets boxes; card.json says what the findings are and what is known of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from imaging.geometry import fit_square
from imaging.radiograph import Radiograph
from models.card import CARD_FILE, load_card
from models.regions import localize
from models.steps import Steps, image_in_words, scores_in_words
from worklist.card import ScorerCard
from worklist.errors import ModelUnavailable
from worklist.finding import Algorithm, Analysis, Finding, FindingType
from worklist.step import StepName
from worklist.uids import device_uid

WEIGHTS = Path(__file__).parent / "weights"

_URGENT = "urgent"

_ORT_ERRORS = (
    ort_errors.EPFail, ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf, ort_errors.NoModel, ort_errors.NotImplemented, ort_errors.RuntimeException,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class _Output:
    """p = sigmoid(scale * logit + bias), the operating point of p, and whether the evidence was seen to point right."""

    key: str
    scale: float
    bias: float
    threshold: float
    has_boxes: bool

    def probability(self, logit: float) -> float:
        return 0.5 + 0.5 * math.tanh((self.scale * logit + self.bias) / 2)


class EmbeddedScorer:
    """Scores images with the network in a folder.

    Args:
        folder: where embedded.onnx and embedded.json lie, and card.json for all but those who measure for the card.
        threads: CPU threads an image may take.

    Raises:
        ModelUnavailable: model_missing, model_damaged (digest, or no such network), or model_invalid (JSON).
    """

    def __init__(self, folder: Path = WEIGHTS, *, threads: int = 1) -> None:
        self._folder = folder
        file = folder / "embedded.json"
        try:
            weights = (folder / "embedded.onnx").read_bytes()
            sidecar = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelUnavailable(
                "model_missing", f"The embedded model is not in {folder}: install Firstread again."
            ) from error
        except ValueError as error:
            raise ModelUnavailable("model_invalid", f"{file} is no JSON document.") from error
        sha256 = hashlib.sha256(weights).hexdigest()
        try:
            self._input_px = int(sidecar["input_px"])
            self._outputs = tuple(_output(values) for values in sidecar["outputs"])
            (self._urgent,) = (output for output in self._outputs if output.key == _URGENT)
            self._kinds = tuple(FindingType.of(output.key) for output in self._outputs if output is not self._urgent)
            self._algorithm = Algorithm(
                name=str(sidecar["name"]),
                version=str(sidecar["version"]),
                sha256=sha256,
                device_uid=device_uid(sha256),
            )
            expected = str(sidecar["sha256"])
        except (KeyError, TypeError, ValueError) as error:
            raise ModelUnavailable(
                "model_invalid", f"{file} lacks or misstates {error}: install Firstread again."
            ) from error
        if sha256 != expected:
            raise ModelUnavailable(
                "model_damaged",
                f"{folder / 'embedded.onnx'} has SHA-256 {sha256[:12]}, not {expected[:12]} as its "
                "JSON says: install Firstread again.",
            )
        self._session = _session(weights, threads)
        self._model_size_mb = len(weights) / 1e6

    @cached_property
    def card(self) -> ScorerCard:
        """What is known of its outputs.

        Raises:
            ModelUnavailable: as load_card, or card_invalid where it speaks of other outputs than the network has.
        """
        card = load_card(self._folder, sha256=self._algorithm.sha256)
        other = {kind.key for kind in self._kinds} ^ {found.type.key for found in card.findings}
        if other:
            raise ModelUnavailable(
                "card_invalid",
                f"{self._folder / CARD_FILE} and embedded.json differ in {', '.join(sorted(other))}: put the card of "
                "these weights there",
            )
        return card

    @property
    def algorithm(self) -> Algorithm:
        """Name, version, weights digest and device UID."""
        return self._algorithm

    @property
    def model_size_mb(self) -> float:
        """Size of the weights file in megabytes (10^6 bytes)."""
        return self._model_size_mb

    def score(self, radiograph: Radiograph) -> Analysis:
        """Probabilities of the findings and of urgency, with boxes and sides where the evidence has a place.

        Raises:
            ModelUnavailable: model_failed, the network did not run or gave no finite numbers.
        """
        started, steps = time.perf_counter(), Steps()
        with steps.step(StepName.SCORE, image_in_words(radiograph), raising=Exception) as outcome:
            square, geometry = fit_square(radiograph.pixels, self._input_px)
            try:
                logits, evidence = self._session.run(["logits", "evidence"], {"film": square[None, None]})
            except _ORT_ERRORS as error:
                raise ModelUnavailable("model_failed", "The embedded model failed on this image.") from error
            shapes = (logits.shape, evidence.shape[:2])
            if shapes != ((1, len(self._outputs)), (1, len(self._kinds))) or not np.isfinite(logits).all():
                raise ModelUnavailable("model_failed", "The embedded model gave no usable numbers for this image.")
            probabilities = {
                output.key: output.probability(float(logit))
                for output, logit in zip(self._outputs, logits[0], strict=True)
            }
            found = self._findings(probabilities)
            outcome.end(scores_in_words(found, probabilities[_URGENT]))
        outputs = {output.key: output for output in self._outputs}
        maps = {kind.key: heat for kind, heat in zip(self._kinds, evidence[0], strict=True)}

        def evidence_of(finding: Finding) -> npt.NDArray[np.float32] | None:
            output = outputs[finding.type.key]
            return maps[finding.type.key] * output.scale if output.has_boxes else None

        findings = localize(found, evidence_of, geometry, radiograph=radiograph, steps=steps)
        now = datetime.now(UTC)
        return Analysis(
            images=(radiograph.image,),
            scorer=self._algorithm,
            findings=findings,
            score=probabilities[_URGENT],
            threshold=self._urgent.threshold,
            completed_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
            elapsed_ms=(time.perf_counter() - started) * 1000,
            quality=radiograph.quality,
            steps=tuple(steps.taken),
        )

    def _findings(self, probabilities: Mapping[str, float]) -> tuple[Finding, ...]:
        outputs = {output.key: output for output in self._outputs}
        return tuple(
            Finding(type=kind, probability=probabilities[kind.key], threshold=outputs[kind.key].threshold)
            for kind in sorted(self._kinds, key=lambda kind: -probabilities[kind.key])
        )


def _output(values: Mapping[str, Any]) -> _Output:
    output = _Output(
        key=str(values["key"]),
        scale=float(values["scale"]),
        bias=float(values["bias"]),
        threshold=float(values["threshold"]),
        has_boxes=bool(values.get("has_boxes", True)),
    )
    if not (output.scale > 0 and math.isfinite(output.bias) and 0 <= output.threshold <= 1):
        raise ValueError(f"the calibration of {output.key}")
    return output


def _session(weights: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False  # it saves no time with one image at a time, and costs megabytes
    # Idle threads that spin would take the cores from the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except _ORT_ERRORS as error:
        raise ModelUnavailable(
            "model_damaged", "embedded.onnx is no network that ONNX Runtime can load: install Firstread again."
        ) from error
    inputs, outputs = ([node.name for node in nodes] for nodes in (session.get_inputs(), session.get_outputs()))
    if inputs != ["film"] or not {"logits", "evidence"} <= set(outputs):
        raise ModelUnavailable("model_damaged", f"embedded.onnx maps {inputs} to {outputs}: install Firstread again.")
    return session
