"""MedSigLIP at full size with random weights, which cost what real ones do: file to Analysis.

On an NVIDIA GPU where there is one, the product's scorer runs the checkpoint itself. On a CPU it runs what `firstread
models export medsiglip` makes and keeps here. Beside it, in turn with ours and in a process of its own, what Hugging
Face's documentation shows: the same film decoded by us, then their processor and torch in float32.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from bench.figures import Figure, median_ms
from bench.films import simulated_films
from firstread.models_command import processor
from imaging.display import to_display
from imaging.files import read_image_file
from imaging.radiograph import read_radiograph
from models.checkpoints.known import MEDSIGLIP
from models.checkpoints.manifest import STAND_IN, pin, read_manifest
from models.medsiglip.exported import LEAST_COSINE, Exported
from models.medsiglip.pixels import to_input
from models.medsiglip.prompts import read_prompts

TABLE = "MedSigLIP, full size, random weights"
_THREADS = 2
_TURNS = 5
_LEAST_RATIO = 2.7
_TURNS_ON_GPU = 30
_THREADS_ON_GPU = 4  # FIRSTREAD_SCORER_THREADS, of a machine that has many; they prepare the film
_TOGETHER = 32  # films in a batch
_MOST_MS = 50  # for a film without its decoding, on an H100 or H200 ...
_LEAST_RATE = 200  # ... and films a second in batches
_MINUTES = 1000 / 60  # of 1,000 films, for each second that one takes

_loaded: Any = None  # what a process of the pool measures


def measure_medsiglip() -> list[Figure]:
    """Make the checkpoint, export it, and hold the kept export against torch with the Hugging Face processor."""
    say = Console().print
    with tempfile.TemporaryDirectory(prefix="firstread-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        folder, film = Path(name) / MEDSIGLIP.name, Path(name) / "film.dcm"
        folder.mkdir()
        (dataset,) = simulated_films(1)
        dataset.save_as(film, enforce_file_format=True)
        with _process(_write_checkpoint, folder) as maker:
            if maker.submit(_has_gpu).result():
                maker.submit(_write_sentences, folder).result()
                with _process(_load_on_gpu, folder) as runner:
                    return runner.submit(_measure_on_gpu, folder, film).result()
            exported, seconds, export_mb = maker.submit(_export, folder).result()
        say(f"exported in {seconds:.0f} s: {exported.tried}")
        with _process(_load_ours, folder) as ours, _process(_load_theirs, folder) as theirs:
            times: dict[str, list[float]] = {"ours": [], "theirs": []}
            for _ in range(_TURNS + 1):
                times["ours"].append(ours.submit(_time_ours, film).result())
                times["theirs"].append(theirs.submit(_time_theirs, film).result())
                say(f"ours {times['ours'][-1]:.2f} s, theirs {times['theirs'][-1]:.2f} s")
            mine, other = (statistics.median(turns[1:]) for turns in times.values())
            peak, their_peak = (pool.submit(_peak_mb).result() for pool in (ours, theirs))
    kept = exported.tried[exported.kept]
    return [
        Figure(name=f"File to Analysis, {exported.kept}, {_THREADS} threads, p50", value=mine, unit="s"),
        Figure(name="The same film, Hugging Face's processor and torch float32, p50", value=other, unit="s"),
        Figure(name="Ratio", value=other / mine, unit="x", at_least=_LEAST_RATIO),
        Figure(name="Least cosine to torch", value=kept.cosine, unit="", at_least=LEAST_COSINE),
        Figure(name="1,000 films", value=mine * _MINUTES, unit="min"),
        Figure(name="Weights that are run", value=kept.size_mb, unit="MB"),
        Figure(name="Peak memory, ours", value=peak, unit="MB"),
        Figure(name="Peak memory, torch", value=their_peak, unit="MB"),
        Figure(name="Export, once: time", value=seconds, unit="s"),
        Figure(name="Export, once: peak memory", value=export_mb, unit="MB"),
        *(
            Figure(name=f"Tower alone, {candidate}", value=tried.seconds, unit="s")
            for candidate, tried in exported.tried.items()
        ),
    ]


def _process(prepare: Any, folder: Path) -> ProcessPoolExecutor:  # noqa: ANN401 - any function of a folder
    """One process of its own, so that its peak memory is its own."""
    return ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn"), initializer=prepare, initargs=(folder,)
    )


def _write_checkpoint(folder: Path) -> None:
    import torch  # noqa: PLC0415 - in this process alone

    from models.checkpoints.stand_in import MEDSIGLIP_448, write_medsiglip  # noqa: PLC0415 - the same

    torch.manual_seed(0)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        write_medsiglip(folder, MEDSIGLIP_448)
    pin(folder, MEDSIGLIP, STAND_IN)


def _has_gpu() -> bool:
    import torch  # noqa: PLC0415 - in this process alone

    return bool(torch.cuda.is_available())


def _write_sentences(folder: Path) -> None:
    from models.medsiglip.sentences import write_sentences  # noqa: PLC0415 - in this process alone

    write_sentences(folder, read_manifest(folder, MEDSIGLIP), read_prompts(folder))


def _load_on_gpu(folder: Path) -> None:
    global _loaded  # noqa: PLW0603 - of this process
    from models.medsiglip.scorer import MedSiglipScorer  # noqa: PLC0415 - the same

    _loaded = MedSiglipScorer(folder, device="cuda", threads=_THREADS_ON_GPU)


def _measure_on_gpu(folder: Path, file: Path) -> list[Figure]:
    import torch  # noqa: PLC0415 - in this process alone

    from models.medsiglip.tower import load_tower  # noqa: PLC0415 - the same

    film = read_radiograph(read_image_file(file))
    size_px, resize, run = _loaded._size_px, read_prompts(folder).resize, _loaded._backend.run  # noqa: SLF001 - its parts
    pixels = np.ascontiguousarray(to_input(film, size_px, resize)[0])
    many = np.concatenate([np.roll(pixels, shift, axis=3) for shift in range(_TOGETHER)])
    decoded = median_ms(lambda: _loaded.score(film), _TURNS_ON_GPU)
    from_file = median_ms(lambda: _loaded.score(read_radiograph(read_image_file(file))), _TURNS_ON_GPU)
    tower = median_ms(lambda: run(pixels), _TURNS_ON_GPU)
    one_gb = torch.cuda.max_memory_allocated() / 1e9
    together = median_ms(lambda: run(many), _TURNS)
    many_gb = torch.cuda.max_memory_allocated() / 1e9
    exact = load_tower(folder).to("cuda")
    found, wanted = run(many[:4])[0], exact(torch.from_numpy(many[:4]).to("cuda"))[0].detach().cpu().numpy()
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    cosine = float((np.einsum("nd,nd->n", found, wanted) / lengths).min())
    figures = [
        Figure(
            name=f"Decoded film to Analysis, {_THREADS_ON_GPU} threads, p50", value=decoded, unit="ms", at_most=_MOST_MS
        ),
        Figure(
            name="Of that, greys and resizing",
            value=median_ms(lambda: to_input(film, size_px, resize, threads=_THREADS_ON_GPU), _TURNS_ON_GPU),
            unit="ms",
        ),
        Figure(name="Of that, the tower, to the GPU and back", value=tower, unit="ms"),
        Figure(name="File to Analysis, p50", value=from_file, unit="ms"),
        Figure(name="1,000 films, one after the other", value=from_file / 60, unit="min"),
        Figure(
            name=f"Tower, {_TOGETHER} films together, to the GPU and back",
            value=_TOGETHER * 1000 / together,
            unit="films/s",
            at_least=_LEAST_RATE,
        ),
        Figure(name="Least cosine to torch in float32, of four films", value=cosine, unit="", at_least=LEAST_COSINE),
        Figure(name="Peak GPU memory of tensors, one film", value=one_gb, unit="GB"),
        Figure(name=f"Peak GPU memory of tensors, {_TOGETHER} films", value=many_gb, unit="GB"),
    ]
    return [replace(figure, name=f"bfloat16, cuda: {figure.name}") for figure in figures]


def _export(folder: Path) -> tuple[Exported, float, float]:
    from models.medsiglip.export import export  # noqa: PLC0415 - in this process alone

    started = time.perf_counter()
    exported = export(folder, threads=_THREADS, machine=processor(), say=lambda line: print(line, flush=True))
    return exported, time.perf_counter() - started, _peak_mb()


def _load_ours(folder: Path) -> None:
    global _loaded  # noqa: PLW0603 - of this process
    from models.medsiglip.scorer import MedSiglipScorer  # noqa: PLC0415 - the same

    _loaded = MedSiglipScorer(folder, threads=_THREADS)


def _time_ours(film: Path) -> float:
    started = time.perf_counter()
    _loaded.score(read_radiograph(read_image_file(film)))
    return time.perf_counter() - started


def _load_theirs(folder: Path) -> None:
    global _loaded  # noqa: PLW0603 - of this process
    import torch  # noqa: PLC0415 - in this process alone
    from transformers import AutoImageProcessor, SiglipVisionModel  # noqa: PLC0415 - the same

    torch.set_num_threads(_THREADS)
    model = SiglipVisionModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    _loaded = (torch, AutoImageProcessor.from_pretrained(folder, local_files_only=True), model)


def _time_theirs(film: Path) -> float:
    torch, prepare, model = _loaded
    started = time.perf_counter()
    display = to_display(read_radiograph(read_image_file(film)))
    side = max(display.shape)
    square = Image.new("RGB", (side, side))
    square.paste(
        Image.fromarray(display).convert("RGB"), ((side - display.shape[1]) // 2, (side - display.shape[0]) // 2)
    )
    with torch.inference_mode():
        model(**prepare(square, return_tensors="pt")).pooler_output.numpy()
    return time.perf_counter() - started


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
