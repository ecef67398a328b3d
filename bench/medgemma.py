"""MedGemma at full size with random weights, which cost what real ones do: one film explained in process.

On an NVIDIA GPU where there is one, in bfloat16 and, with bitsandbytes, in 4 bits. Else on two threads of the
processor, where a film takes minutes: there one film is explained once, its answer is cut at 32 tokens, and what 200
take, about what an explanation has, is computed from the time of the first and the rate of the others. The vocabulary
of the answers is a stand-in's, the masks over it are of full size.
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
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.console import Console

from bench.figures import Figure
from models.checkpoints.known import MEDGEMMA
from models.checkpoints.manifest import STAND_IN, pin
from models.checkpoints.stand_in import MEDGEMMA_4B, GemmaSize
from models.medgemma.film import SIDE_PX
from models.medgemma.prompt import load_prompt
from models.medgemma.question import LanguageModel, Patience, Question

if TYPE_CHECKING:
    from models.medgemma.in_process import Precision

TABLE = "MedGemma, full size, random weights"
_THREADS = 2
_TOKENS = 200
_TOKENS_ON_CPU = 32
_TURNS = 5  # on a GPU
_PATIENCE_S = 3600.0
_MOST_S = 1.5  # for a film, on an H100 or H200
_MOST_GB = 10  # of GPU memory


def measure_medgemma(size: GemmaSize = MEDGEMMA_4B) -> list[Figure]:
    """Make the checkpoint, load it, and time a film's first token and its first 200."""
    with tempfile.TemporaryDirectory(prefix="firstread-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name) / MEDGEMMA.name
        folder.mkdir()
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=spawn) as maker:
            has_gpu = maker.submit(_write, folder, size).result()
        figures = []
        for precision in ("bfloat16", "4bit") if has_gpu and find_spec("bitsandbytes") else ("bfloat16",):
            with ProcessPoolExecutor(1, mp_context=spawn) as runner:
                figures += runner.submit(_measure, folder, precision).result()
        return figures


def _write(folder: Path, size: GemmaSize) -> bool:
    """Whether there is a GPU; the weights are drawn on it, which takes it a second."""
    import torch  # noqa: PLC0415 - in this process alone

    from models.checkpoints.stand_in import write_medgemma  # noqa: PLC0415 - the same

    has_gpu: bool = torch.cuda.is_available()
    torch.manual_seed(0)
    with torch.device("cuda" if has_gpu else "cpu"):
        write_medgemma(folder, size)
    pin(folder, MEDGEMMA, STAND_IN)
    return has_gpu


def _measure(folder: Path, precision: Precision) -> list[Figure]:
    import torch  # noqa: PLC0415 - in this process alone

    from models.medgemma.in_process import InProcessModel  # noqa: PLC0415 - the same

    started = time.perf_counter()
    model = InProcessModel(folder, precision=precision, threads=_THREADS)
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
    say(f"{precision}: loaded on {device} in {loaded_s:.0f} s")
    measured = _on_gpu(model, question, say) if device == "cuda" else _on_cpu(model, question, say)
    network = model._model  # noqa: SLF001 - its sizes, which nobody else needs
    weights, read = (
        network.get_memory_footprint(),
        sum(part.nbytes for part in network.model.language_model.parameters()),
    )
    memory = [Figure(name="Peak memory", value=_peak_bytes() / 1e9, unit="GB")]
    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        memory = [
            Figure(name="Peak GPU memory, of tensors", value=torch.cuda.max_memory_allocated() / 1e9, unit="GB"),
            Figure(name="... of the process", value=(total - free) / 1e9, unit="GB", at_most=_MOST_GB),
        ]
    most = _bandwidth(device) / read
    figures = [
        Figure(
            name=f"A film, {_TOKENS} tokens, {'p50' if device == 'cuda' else 'one film'}",
            value=measured.whole,
            unit="s",
            at_most=_MOST_S if device == "cuda" else None,
        ),
        Figure(name="Of that, film and prompt until the first token", value=measured.first, unit="s"),
        Figure(name="Tokens a second after it", value=measured.rate, unit="1/s"),
        Figure(name="As many as the memory's bandwidth allows", value=most, unit="1/s"),
        Figure(name="1,000 films", value=measured.whole * 1000 / 60, unit="min"),
        Figure(name="Weights", value=weights / 1e9, unit="GB"),
        *memory,
        Figure(name="Verified and loaded in", value=loaded_s, unit="s"),
        *(
            [Figure(name="The first film after that", value=measured.after_loading, unit="s")]
            if device == "cuda"
            else []
        ),
    ]
    return [replace(figure, name=f"{precision}, {device}: {figure.name}") for figure in figures]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Measured:
    """Seconds until the first token, until the last, and of the film that came first of all."""

    first: float
    whole: float
    after_loading: float

    @property
    def rate(self) -> float:
        """Tokens a second after the first."""
        return (_TOKENS - 1) / (self.whole - self.first)


def _on_gpu(model: LanguageModel, question: Question, say: Callable[[str], None]) -> _Measured:
    """The medians of several turns."""

    def seconds(tokens: int) -> float:
        begun = time.perf_counter()
        model.answer(replace(question, max_tokens=tokens), _patience())
        return time.perf_counter() - begun

    after_loading = seconds(_TOKENS)
    firsts, wholes = [], []
    for _ in range(_TURNS):
        firsts.append(seconds(1))
        wholes.append(seconds(_TOKENS))
        say(f"first token {firsts[-1]:.3f} s, {_TOKENS} tokens {wholes[-1]:.3f} s")
    return _Measured(first=statistics.median(firsts), whole=statistics.median(wholes), after_loading=after_loading)


def _on_cpu(model: LanguageModel, question: Question, say: Callable[[str], None]) -> _Measured:
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
    return _Measured(first=first, whole=whole, after_loading=last)


def _patience(why_unwanted: Callable[[], str] = lambda: "") -> Patience:
    return Patience(until=time.monotonic() + _PATIENCE_S, why_unwanted=why_unwanted)


def _bandwidth(device: str) -> float:
    """Bytes a second that a sum over a large array reads: each token reads all weights once."""
    import torch  # noqa: PLC0415 - in this process alone

    array = torch.ones((4 if device == "cuda" else 1) * 256 * 1024 * 1024, device=device, dtype=torch.float32)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        float(array.sum())  # waits for the device
        times.append(time.perf_counter() - begun)
    return float(array.numel() * array.element_size()) / min(times)


def _peak_bytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0
