"""MedGemma at full size with random weights, which cost what real ones do: one film explained in process.

On an NVIDIA GPU where there is one, else on two threads of the processor, where a film takes minutes. The vocabulary of
the answers is a stand-in's, the masks over it are of full size. An answer is cut at 200 tokens, about what an
explanation has.
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

from PIL import Image
from rich.console import Console

from bench.figures import Figure
from models.checkpoints.known import MEDGEMMA
from models.checkpoints.manifest import STAND_IN, pin
from models.checkpoints.stand_in import MEDGEMMA_4B, GemmaSize
from models.medgemma.film import SIDE_PX
from models.medgemma.prompt import load_prompt
from models.medgemma.question import Patience, Question

TABLE = "MedGemma, full size, random weights"
_THREADS = 2
_TOKENS = 200
_TURNS = {"cuda": 5, "cpu": 1}
_PATIENCE_S = 3600.0
_MOST_S = 1.5  # for a film, on an H100 or H200


def measure_medgemma(size: GemmaSize = MEDGEMMA_4B) -> list[Figure]:
    """Make the checkpoint, load it, and time a film's first token and its first 200."""
    with tempfile.TemporaryDirectory(prefix="firstread-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name) / MEDGEMMA.name
        folder.mkdir()
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as maker:
            maker.submit(_write, folder, size).result()
        with ProcessPoolExecutor(1, mp_context=spawn) as runner:
            return runner.submit(_measure, folder).result()


def _write(folder: Path, size: GemmaSize) -> None:
    import torch  # noqa: PLC0415 - in this process alone

    from models.checkpoints.stand_in import write_medgemma  # noqa: PLC0415 - the same

    torch.manual_seed(0)
    write_medgemma(folder, size)
    pin(folder, MEDGEMMA, STAND_IN)


def _measure(folder: Path) -> list[Figure]:
    import torch  # noqa: PLC0415 - in this process alone

    from models.medgemma.in_process import InProcessModel  # noqa: PLC0415 - the same

    started = time.perf_counter()
    model = InProcessModel(folder, threads=_THREADS)
    loaded_s = time.perf_counter() - started
    device = "cuda" if torch.cuda.is_available() else "cpu"
    prompt = load_prompt()
    question = Question(
        system=prompt.system,
        images=(Image.effect_noise((SIDE_PX, SIDE_PX), 60).convert("RGB"),),
        text=prompt.question(scores=["pleural effusion likely, left"], data=["reason: cough"], has_prior_film=False),
        schema=prompt.schema,
        max_tokens=_TOKENS,
    )

    def seconds(tokens: int) -> float:
        begun = time.perf_counter()
        patience = Patience(until=time.monotonic() + _PATIENCE_S, why_unwanted=lambda: "")
        model.answer(replace(question, max_tokens=tokens), patience)
        return time.perf_counter() - begun

    say = Console().print
    say(f"loaded on {device} in {loaded_s:.0f} s")
    seconds(2)  # to warm up
    firsts, wholes = [], []
    for _ in range(_TURNS[device]):
        firsts.append(seconds(1))
        wholes.append(seconds(_TOKENS))
        say(f"first token {firsts[-1]:.2f} s, {_TOKENS} tokens {wholes[-1]:.2f} s")
    first, whole = statistics.median(firsts), statistics.median(wholes)
    weights_gb = (folder / "model.safetensors").stat().st_size / 1e9
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _peak_bytes()
    return [
        Figure(
            name=f"A film, {_TOKENS} tokens, {device}, p50",
            value=whole,
            unit="s",
            at_most=_MOST_S if device == "cuda" else None,
        ),
        Figure(name="Of that, film and prompt until the first token", value=first, unit="s"),
        Figure(name="Tokens a second after it", value=(_TOKENS - 1) / (whole - first), unit="1/s"),
        Figure(
            name="As many as the memory's bandwidth allows", value=_bandwidth(device) / 1e9 / weights_gb, unit="1/s"
        ),
        Figure(name="1,000 films", value=whole * 1000 / 60, unit="min"),
        Figure(name="Weights", value=weights_gb, unit="GB"),
        Figure(name="Peak memory", value=peak / 1e9, unit="GB"),
        Figure(name="Verified and loaded in", value=loaded_s, unit="s"),
    ]


def _bandwidth(device: str) -> float:
    """Bytes a second that a sum over a large array reads: each token reads all weights once."""
    import torch  # noqa: PLC0415 - in this process alone

    array = torch.ones(256 * 1024 * 1024, device=device, dtype=torch.float32)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        float(array.sum())  # waits for the device
        times.append(time.perf_counter() - begun)
    return float(array.numel() * array.element_size()) / min(times)


def _peak_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
