"""`firstread models export medsiglip`: the vision tower made for this machine, measured, and the best kept.

Which way is fastest differs from CPU to CPU (with AMX or with bfloat16 alone, or without), so each is tried here: the
candidates run the same films, and the fastest is kept of those whose every image embedding has a cosine of at least
0.999 to that of torch in float32. The two fastest run once more, in turns: a machine is not as busy in each minute.
"""

from __future__ import annotations

import logging
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch

from imaging.radiograph import read_radiograph
from imaging.simulated.samples import build_samples
from models.checkpoints.known import MEDSIGLIP
from models.checkpoints.manifest import MADE_HERE, digest_of, verified
from models.medsiglip.backends import Backend, Floats, import_openvino
from models.medsiglip.exported import (
    FLOAT,
    INT8,
    LEAST_COSINE,
    OPENVINO,
    OPENVINO_INT8,
    Exported,
    Tried,
    open_backend,
    read_exported,
    write_exported,
)
from models.medsiglip.pixels import to_input
from models.medsiglip.prompts import read_prompts
from models.medsiglip.sentences import write_sentences
from models.medsiglip.tower import Tower, input_size, load_tower, write_onnx
from worklist.errors import ModelUnavailable

_FILMS: Final = 4
_RUNS: Final = 5
_MOST: Final = 127  # of an 8-bit weight
_FILES: Final = {
    INT8: ("vision-int8.onnx",),
    OPENVINO: ("vision.xml", "vision.bin"),
    OPENVINO_INT8: ("vision-int8.xml", "vision-int8.bin"),
    FLOAT: ("vision.onnx", "vision.onnx.data"),
}
"""Of each candidate, the one that is loaded first and the one with the weights last."""

Say = Callable[[str], None]


def export(folder: Path, *, threads: int, machine: str, say: Say, again: bool = False) -> Exported:
    """Embed the sentences, and make the tower for this machine unless that is done.

    Args:
        folder: the checkpoint's.
        threads: of a scoring.
        machine: its processor, for the record.
        say: what is done, line by line.
        again: make and measure the tower even where it is there.

    Raises:
        ModelUnavailable: as verified, load_tower and write_sentences, or no_faithful_export.
    """
    manifest = verified(folder, MEDSIGLIP)
    prompts = read_prompts(folder)
    write_sentences(folder, manifest, prompts)
    say(f"{len(prompts.pairs)} pairs of sentences, version {prompts.version}")
    if not again:
        try:
            return read_exported(folder, manifest)
        except ModelUnavailable:
            pass  # it is made now
    size_px, tower = input_size(folder), load_tower(folder)
    films = _films(size_px)
    with _threads(threads), torch.inference_mode():
        exact = np.concatenate([tower(torch.from_numpy(film.copy()))[0].numpy() for film in films])
    kept = folder / MADE_HERE
    with TemporaryDirectory(dir=kept, prefix="export-") as name:
        made, tried = Path(name), dict[str, Tried]()
        for candidate in _make(tower, size_px, made):
            files = [made / file for file in _FILES[candidate]]
            backend = open_backend(candidate, files[0], threads=threads)
            tried[candidate] = _try(backend, films, exact, sum(file.stat().st_size for file in files) / 1e6)
            say(
                f"{candidate}: {tried[candidate].seconds:.3f} s a film, cosine {tried[candidate].cosine:.5f}, "
                f"{tried[candidate].size_mb:.0f} MB"
            )
        best = _compare_fastest(tried, made, films, threads=threads)
        say(f"kept {best}, {tried[best].seconds:.3f} s a film")
        for file in {file for files in _FILES.values() for file in files}:
            (kept / file).unlink(missing_ok=True)
        for file in _FILES[best]:
            shutil.move(made / file, kept / file)
    exported = Exported(
        model_sha256=manifest.sha256,
        kept=best,
        files={file: digest_of(kept / file) for file in _FILES[best]},
        size_px=size_px,
        machine=f"{machine}, {threads} thread{'' if threads == 1 else 's'}",
        tried=tried,
    )
    write_exported(folder, exported)
    return exported


def choose(tried: dict[str, Tried]) -> str:
    """The fastest of those that say what torch says.

    Raises:
        ModelUnavailable: no_faithful_export.
    """
    faithful = {name: one.seconds for name, one in tried.items() if one.cosine >= LEAST_COSINE}
    if not faithful:
        found = ", ".join(f"{name} {one.cosine:.5f}" for name, one in tried.items())
        raise ModelUnavailable(
            "no_faithful_export",
            f"no way to run MedSigLIP here gives the embeddings of torch (cosine {found}, wanted {LEAST_COSINE}): "
            "score on a GPU, FIRSTREAD_SCORER_DEVICE=cuda",
        )
    return min(faithful, key=faithful.__getitem__)


def _compare_fastest(tried: dict[str, Tried], made: Path, films: list[Floats], *, threads: int) -> str:
    """The faster one of the two fastest faithful candidates, run in turns; both get the times of that."""
    best = choose(tried)
    others = {name: one for name, one in tried.items() if name != best and one.cosine >= LEAST_COSINE}
    if not others:
        return best
    pair = [best, choose(others)]
    backends = {name: open_backend(name, made / _FILES[name][0], threads=threads) for name in pair}
    seconds: dict[str, list[float]] = {name: [] for name in pair}
    for run in range(_RUNS):
        for name, backend in backends.items():
            seconds[name].append(_seconds(backend, films[run % len(films)]))
    tried |= {name: replace(tried[name], seconds=statistics.median(seconds[name])) for name in pair}
    return choose({name: tried[name] for name in pair})


def _seconds(backend: Backend, film: Floats) -> float:
    started = time.perf_counter()
    backend.run(film)
    return time.perf_counter() - started


def _films(size_px: int) -> list[Floats]:
    """Inputs that differ: simulated chest films, one a network input."""
    simulated = (sample for sample in build_samples(seed=0) if "SIMULATED" in str(sample.PatientName))
    return [to_input(read_radiograph(sample), size_px, "bicubic")[0] for sample in islice(simulated, _FILMS)]


def _make(tower: Tower, size_px: int, folder: Path) -> Iterator[str]:
    """Write one candidate after the other; the caller measures each before the next is made."""
    exact = folder / _FILES[FLOAT][0]
    with _silence():
        write_onnx(tower, size_px, exact)
        _quantize(exact, folder / _FILES[INT8][0])
    yield INT8
    if find_spec("openvino"):
        openvino = import_openvino()
        model = openvino.Core().read_model(exact)
        openvino.save_model(model, folder / _FILES[OPENVINO][0], compress_to_fp16=True)
        yield OPENVINO
        _compress(model)
        openvino.save_model(model, folder / _FILES[OPENVINO_INT8][0], compress_to_fp16=False)
        del model
        yield OPENVINO_INT8
    yield FLOAT


def _quantize(exact: Path, file: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - needs onnx, of the extra models

    quantize_dynamic(
        exact, file, weight_type=QuantType.QInt8, per_channel=True, op_types_to_quantize=["MatMul", "Gemm"],
        extra_options={"MatMulConstBOnly": True},
    )  # fmt: skip


def _compress(model: Any) -> None:  # noqa: ANN401 - OpenVINO has no types here
    """Give every product with a constant 8-bit weights and a scale for each output, in the form OpenVINO knows."""
    from openvino import Type, opset13  # noqa: PLC0415 - of the extra models

    for node in model.get_ordered_ops():
        if node.get_type_name() != "MatMul" or node.input_value(1).get_node().get_type_name() != "Constant":
            continue
        weight = node.input_value(1).get_node().get_data().astype(np.float32)
        if not node.get_attributes()["transpose_b"]:
            weight = weight.T
        scale = np.maximum(np.abs(weight).max(axis=1, keepdims=True), np.finfo(np.float32).tiny) / _MOST
        whole = opset13.convert(opset13.constant(np.rint(weight / scale).astype(np.int8), dtype=Type.i8), "f16")
        small = opset13.multiply(whole, opset13.constant(scale.astype(np.float16)))
        product = opset13.matmul(node.input_value(0), opset13.convert(small, "f32"), False, True)  # noqa: FBT003 - of b
        for target in node.output(0).get_target_inputs():
            target.replace_source_output(product.output(0))
    model.validate_nodes_and_infer_types()


def _try(backend: Backend, films: list[Floats], exact: Floats, size_mb: float) -> Tried:
    found = np.concatenate([backend.run(film)[0] for film in films])
    seconds = [_seconds(backend, films[run % len(films)]) for run in range(_RUNS)]
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(exact, axis=1)
    cosines = np.einsum("nd,nd->n", found, exact) / lengths
    least = float(cosines.min()) if np.isfinite(cosines).all() else 0.0
    return Tried(seconds=statistics.median(seconds), cosine=least, size_mb=size_mb)


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing below an error: what the exporters note of themselves tells a user nothing to do."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Torch with so many threads, and afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
