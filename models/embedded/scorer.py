"""The embedded scorer: a small network shipped with Firstread, on the CPU, in milliseconds.

The file embedded.onnx takes `film` (N, 1, S, S), 0..1, and gives `logits` (N, K + 1), K findings and urgency, and
`evidence` (N, K, h, w), class activation maps whose mean, or soft maximum, plus a bias is the logit (Zhou et al., CVPR
2016, arXiv:1512.04150). It may hold a second network with findings of its own, which takes the same film at another
size: `sharp_film`, `sharp_logits` and `sharp_evidence`. embedded.json beside it lists the outputs in the networks'
order, each with its calibration, its operating point and whether it gets boxes, those of the second network under
`sharp`; card.json says what the findings are and what is known of them.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from imaging.geometry import SquareGeometry, fit_squares
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


@dataclass(frozen=True, kw_only=True, slots=True)
class _Network:
    """One network of the file: what its tensors' names begin with, its film's size, and its outputs in their order."""

    prefix: str
    input_px: int
    outputs: tuple[_Output, ...]

    @property
    def film(self) -> str:
        return f"{self.prefix}film"

    @property
    def gives(self) -> list[str]:
        return [f"{self.prefix}logits", f"{self.prefix}evidence"]

    @property
    def findings(self) -> tuple[_Output, ...]:
        return tuple(output for output in self.outputs if output.key != _URGENT)


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
            document = file.read_bytes()
            sidecar = json.loads(document)
        except OSError as error:
            raise ModelUnavailable(
                "model_missing", f"The embedded model is not in {folder}: install Firstread again."
            ) from error
        except ValueError as error:
            raise ModelUnavailable("model_invalid", f"{file} is no JSON document.") from error
        found = hashlib.sha256(weights).hexdigest()
        sha256 = hashlib.sha256(document).hexdigest()  # it states that of the weights, so both are in it
        try:
            self._networks: tuple[_Network, ...] = (_network("", sidecar),)
            if "sharp" in sidecar:
                self._networks += (_network("sharp_", sidecar["sharp"]),)
            self._outputs = {output.key: output for network in self._networks for output in network.outputs}
            (urgent,) = (each for network in self._networks for each in network.outputs if each.key == _URGENT)
            self._urgent_threshold = urgent.threshold
            self._kinds = tuple(FindingType.of(key) for key in self._outputs if key != _URGENT)
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
        if found != expected:
            raise ModelUnavailable(
                "model_damaged",
                f"{folder / 'embedded.onnx'} has SHA-256 {found[:12]}, not {expected[:12]} as its "
                "JSON says: install Firstread again.",
            )
        self._session = _session(weights, threads, self._networks)
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
        """Name, version, device UID, and one digest over weights and calibration: that of embedded.json."""
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
            logits, maps, geometry = self._run(radiograph)
            probabilities = {key: output.probability(logits[key]) for key, output in self._outputs.items()}
            found = self._findings(probabilities)
            outcome.end(scores_in_words(found, probabilities[_URGENT]))

        def evidence_of(finding: Finding) -> npt.NDArray[np.float32] | None:
            return maps[finding.type.key] if self._outputs[finding.type.key].has_boxes else None

        findings = localize(found, evidence_of, geometry, radiograph=radiograph, steps=steps)
        now = datetime.now(UTC)
        return Analysis(
            images=(radiograph.image,),
            scorer=self._algorithm,
            findings=findings,
            score=probabilities[_URGENT],
            threshold=self._urgent_threshold,
            completed_at=now.replace(microsecond=now.microsecond // 1000 * 1000),
            elapsed_ms=(time.perf_counter() - started) * 1000,
            quality=radiograph.quality,
            steps=tuple(steps.taken),
        )

    def evidence(self, radiograph: Radiograph) -> tuple[dict[str, npt.NDArray[np.float32]], SquareGeometry]:
        """Each finding's map (h, w) in calibrated log odds, with boxes or not, and how the film lies in its square.

        Raises:
            ModelUnavailable: model_failed.
        """
        _, maps, geometry = self._run(radiograph)
        return maps, geometry

    def _run(
        self, radiograph: Radiograph
    ) -> tuple[dict[str, float], dict[str, npt.NDArray[np.float32]], SquareGeometry]:
        """Logits of all outputs, maps of the findings in calibrated log odds, and the square that all maps cover."""
        fitted = list(fit_squares(radiograph.pixels, [network.input_px for network in self._networks]))
        films = {network.film: square[None, None] for network, (square, _) in zip(self._networks, fitted, strict=True)}
        names = [name for network in self._networks for name in network.gives]
        try:
            given = self._session.run(names, films)
        except _ORT_ERRORS as error:
            raise ModelUnavailable("model_failed", "The embedded model failed on this image.") from error
        logits: dict[str, float] = {}
        maps: dict[str, npt.NDArray[np.float32]] = {}
        for network, numbers, evidence in zip(self._networks, given[::2], given[1::2], strict=True):
            wanted = ((1, len(network.outputs)), (1, len(network.findings)))
            if (numbers.shape, evidence.shape[:2]) != wanted or not np.isfinite(numbers).all():
                raise ModelUnavailable("model_failed", "The embedded model gave no usable numbers for this image.")
            logits |= {each.key: float(logit) for each, logit in zip(network.outputs, numbers[0], strict=True)}
            maps |= {each.key: heat * each.scale for each, heat in zip(network.findings, evidence[0], strict=True)}
        return logits, maps, fitted[0][1]

    def _findings(self, probabilities: Mapping[str, float]) -> tuple[Finding, ...]:
        return tuple(
            Finding(type=kind, probability=probabilities[kind.key], threshold=self._outputs[kind.key].threshold)
            for kind in sorted(self._kinds, key=lambda kind: -probabilities[kind.key])
        )


def _network(prefix: str, values: Mapping[str, Any]) -> _Network:
    outputs = tuple(_output(each) for each in values["outputs"])
    return _Network(prefix=prefix, input_px=int(values["input_px"]), outputs=outputs)


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


def _session(weights: bytes, threads: int, networks: Sequence[_Network]) -> onnxruntime.InferenceSession:
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
    asked = {name for network in networks for name in network.gives}
    if set(inputs) != {network.film for network in networks} or not asked <= set(outputs):
        raise ModelUnavailable("model_damaged", f"embedded.onnx maps {inputs} to {outputs}: install Firstread again.")
    return session
