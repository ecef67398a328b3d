"""MedGemma at full size with random weights, which cost what real ones do: one film explained in process.

On an NVIDIA GPU where there is one, else on two threads of the processor, where a film takes minutes: there one film is
explained once, its answer is cut at 32 tokens, and what 200 take, about what an explanation has, is computed from the
time of the first and the rate of the others. The vocabulary of the answers is a stand-in's, the masks over it are of
full size.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
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
from models.medgemma.question import LanguageModel, Patience, Question

TABLE = "MedGemma, full size, random weights"
_THREADS = 2
_TOKENS = 200
_TOKENS_ON_CPU = 32
_TURNS = 5  # on a GPU
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

    say = Console().print
    say(f"loaded on {device} in {loaded_s:.0f} s")
    first, whole = _on_gpu(model, question, say) if device == "cuda" else _on_cpu(model, question, say)
    weights_gb = (folder / "model.safetensors").stat().st_size / 1e9
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else _peak_bytes()
    return [
        Figure(
            name=f"A film, {_TOKENS} tokens, {device}, {'p50' if device == 'cuda' else 'one film'}",
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


def _on_gpu(model: LanguageModel, question: Question, say: Callable[[str], None]) -> tuple[float, float]:
    """Seconds until the first token and until the last, the medians of several turns."""

    def seconds(tokens: int) -> float:
        begun = time.perf_counter()
        model.answer(replace(question, max_tokens=tokens), _patience())
        return time.perf_counter() - begun

    seconds(2)  # to warm up
    firsts, wholes = [], []
    for _ in range(_TURNS):
        firsts.append(seconds(1))
        wholes.append(seconds(_TOKENS))
        say(f"first token {firsts[-1]:.2f} s, {_TOKENS} tokens {wholes[-1]:.2f} s")
    return statistics.median(firsts), statistics.median(wholes)


def _on_cpu(model: LanguageModel, question: Question, say: Callable[[str], None]) -> tuple[float, float]:
    """The same of one answer, whose first token is told by the first look at whether it is still wanted."""
    begun = time.perf_counter()
    looks: list[float] = []  # before the film is looked at, then after the first token, and at most one a second

    def why_unwanted() -> str:
        looks.append(time.perf_counter() - begun)
        return ""

    model.answer(replace(question, max_tokens=_TOKENS_ON_CPU), _patience(why_unwanted))
    first, last = looks[1], time.perf_counter() - begun
    whole = first + (last - first) * (_TOKENS - 1) / (_TOKENS_ON_CPU - 1)
    say(f"first token {first:.1f} s, {_TOKENS_ON_CPU} tokens {last:.1f} s, so {_TOKENS} in {whole:.1f} s")
    return first, whole


def _patience(why_unwanted: Callable[[], str] = lambda: "") -> Patience:
    return Patience(until=time.monotonic() + _PATIENCE_S, why_unwanted=why_unwanted)


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
