"""What runs the vision tower: ONNX Runtime or OpenVINO on a CPU, torch on a GPU. Each gives the same two arrays."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from worklist.errors import ModelUnavailable

Floats = npt.NDArray[np.float32]
OUTPUTS: Final = ("image_embedding", "patch_embeddings")

_GROUP: Final = "128"  # inputs that share a scale; of 32 to 1,152 this was the fastest
_ORT_ERRORS = (
    ort_errors.EPFail, ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf, ort_errors.NoModel, ort_errors.NotImplemented, ort_errors.NoSuchFile,
    ort_errors.RuntimeException,
)  # fmt: skip


class Backend(Protocol):
    """Runs the vision tower."""

    def run(self, pixel_values: Floats) -> tuple[Floats, Floats]:
        """Image embeddings (n, D) and patch embeddings (n, P, D) of films (n, 3, S, S).

        Raises:
            ModelUnavailable: model_failed or out_of_memory.
        """


class OnnxRuntime:
    """An ONNX file in ONNX Runtime.

    Raises:
        ModelUnavailable: model_invalid.
    """

    def __init__(self, file: Path, *, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # A thread that waits for the other one sleeps: spinning takes the core from whatever else the machine does.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            raise _invalid(file, error) from error

    def run(self, pixel_values: Floats) -> tuple[Floats, Floats]:
        """See Backend."""
        try:
            image, patches = self._session.run(list(OUTPUTS), {"pixel_values": np.ascontiguousarray(pixel_values)})
        except _ORT_ERRORS as error:
            raise _failed(error) from error
        return image, patches


class OpenVino:
    """An OpenVINO model, its XML beside its weights, in the CPU's own 16-bit numbers where it has them.

    Args:
        file: its XML.
        threads: of a scoring.
        is_int8: its weights are, and meet inputs that are made 8-bit a group at a time.
        is_float32: it computes in float32 where it does not in 8 bits, whatever the CPU has.

    Raises:
        ModelUnavailable: models_not_installed or model_invalid.
    """

    def __init__(self, file: Path, *, threads: int, is_int8: bool = False, is_float32: bool = False) -> None:
        try:
            openvino = import_openvino()
        except ModuleNotFoundError as error:
            raise ModelUnavailable(
                "models_not_installed",
                f"{file} needs openvino: run make setup-models, or firstread models export medsiglip --again here",
            ) from error
        settings: dict[str, object] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if is_int8:
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = _GROUP
        if is_float32:
            settings["INFERENCE_PRECISION_HINT"] = "f32"
        try:
            self._model: Any = openvino.Core().compile_model(file, "CPU", settings)
        except RuntimeError as error:  # all that OpenVINO raises
            raise _invalid(file, error) from error

    def run(self, pixel_values: Floats) -> tuple[Floats, Floats]:
        """See Backend."""
        try:
            answers = self._model([np.ascontiguousarray(pixel_values)])
            return answers[OUTPUTS[0]], answers[OUTPUTS[1]]
        except RuntimeError as error:
            raise _failed(error) from error


class Torch:
    """The checkpoint itself in transformers: on a GPU in bfloat16, on a CPU, to compare with, in float32.

    Args:
        folder: the checkpoint's, verified.
        device: as torch names it.
        threads: of the processor; what it does for a GPU is little, and many that wait for one another take longer.

    Raises:
        ModelUnavailable: no_gpu, or as models.medsiglip.tower.load_tower.
    """

    def __init__(self, folder: Path, *, device: str, threads: int) -> None:
        from models.checkpoints.loading import reading  # noqa: PLC0415 - sets what must be set before torch

        with reading(folder):
            import torch  # noqa: PLC0415 - of the extra models

            from models.medsiglip.tower import load_tower  # noqa: PLC0415 - loads transformers
        self._torch: Any = torch
        torch.set_num_threads(threads)
        self._device = torch.device(device)
        is_cuda = self._device.type == "cuda"
        if is_cuda and not torch.cuda.is_available():
            raise ModelUnavailable(
                "no_gpu", "torch sees no GPU: install its CUDA build and the driver, or set FIRSTREAD_SCORER_DEVICE=cpu"
            )
        self._kind = torch.bfloat16 if is_cuda else torch.float32
        with reading(folder):
            self._tower: Any = load_tower(folder, dtype=self._kind).to(self._device)
        self._film: Any = None  # where the graph of one film, if there is one yet, reads it
        self._graph: Any = None
        self._answer: Any = None

    def run(self, pixel_values: Floats) -> tuple[Floats, Floats]:
        """See Backend."""
        torch = self._torch
        try:
            with torch.inference_mode():
                films = torch.from_numpy(
                    np.require(pixel_values[:, :1], requirements=["C", "W"])
                )  # the channels are equal
                image, patches = (self._fetched(part) for part in self._answered(films))
                if self._device.type == "cuda":
                    torch.cuda.current_stream().synchronize()
        except RuntimeError as error:  # CUDA's out-of-memory is one
            if "out of memory" in str(error).lower():
                raise ModelUnavailable(
                    "out_of_memory", "The GPU has no room for MedSigLIP: end what else runs there."
                ) from error
            raise _failed(error) from error
        return image.numpy(), patches.numpy()

    def _answered(self, films: Any) -> Any:  # noqa: ANN401 - torch's, from here on
        """The tower's answers, on its device, to films (n, 1, S, S); on a GPU one film's are overwritten by the next.

        One film is some five hundred small kernels, which are recorded and started as one.
        """
        if self._device.type == "cpu" or len(films) > 1:
            return self._of(films.to(self._device, self._kind))
        if self._graph is None:
            from models.checkpoints.graphs import record  # noqa: PLC0415 - loads torch

            self._film = films.to(self._device, self._kind)
            self._graph, self._answer = record(lambda: self._of(self._film))
        self._film.copy_(films)
        self._graph.replay()
        return self._answer

    def _of(self, films: Any) -> Any:  # noqa: ANN401
        return self._tower(films.expand(-1, 3, -1, -1))

    def _fetched(self, answer: Any) -> Any:  # noqa: ANN401
        """An answer in float32 in the processor's memory; from a GPU it is on its way there."""
        held = self._torch.empty(answer.shape, pin_memory=self._device.type == "cuda")
        return held.copy_(answer.float(), non_blocking=True)


def import_openvino() -> Any:  # noqa: ANN401 - it has no types here
    """OpenVINO without its reporter, which tells its maker of every import unless it is not there.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # so the import of it fails, and is met
    import openvino  # noqa: PLC0415 - of the extra models

    return openvino


def _invalid(file: Path, error: Exception) -> ModelUnavailable:
    reason = " ".join(str(error).split())[:160]
    return ModelUnavailable(
        "model_invalid", f"{file} does not load ({reason}): run firstread models export medsiglip --again"
    )


def _failed(error: Exception) -> ModelUnavailable:
    return ModelUnavailable("model_failed", f"MedSigLIP failed on this image ({type(error).__name__}).")
