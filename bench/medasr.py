"""MedASR at full size with random weights, which cost what real ones do: speech to text on one thread.

What is said is noise: the network's work does not depend on it. Decoding does, a little, and noise has more to decode
than speech.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from bench.figures import Figure
from models.checkpoints.known import MEDASR
from models.checkpoints.manifest import STAND_IN, pin
from models.checkpoints.stand_in import MEDASR_105M, LasrSize
from worklist.spoken.wav import RATE_HZ

TABLE = "MedASR, full size, random weights"
_THREADS = 1
_TURNS = 5
_TARGETS_S = {2: None, 20: 2.0, 60: None}  # seconds of speech, and what they may take


def measure_medasr(size: LasrSize = MEDASR_105M) -> list[Figure]:
    """Make the checkpoint, load it, and time a command, a dictation of 20 s and the longest that is taken."""
    with tempfile.TemporaryDirectory(prefix="firstread-bench-", dir=os.environ.get("BENCH_DIR")) as name:
        folder = Path(name) / MEDASR.name
        folder.mkdir()
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as runner:
            return runner.submit(_measure, folder, size).result()


def _measure(folder: Path, size: LasrSize) -> list[Figure]:
    import torch  # noqa: PLC0415 - in this process alone

    from models.checkpoints.stand_in import write_medasr  # noqa: PLC0415 - the same
    from models.medasr.recognizer import SpeechRecognizer  # noqa: PLC0415 - the same

    torch.manual_seed(0)
    write_medasr(folder, size)
    pin(folder, MEDASR, STAND_IN)
    started = time.perf_counter()
    recognizer = SpeechRecognizer(folder, threads=_THREADS)
    figures = [Figure(name="Loading, from files to ready", value=time.perf_counter() - started, unit="s")]
    random = np.random.default_rng(0)
    for speech_s, most_s in _TARGETS_S.items():
        samples = (0.1 * random.standard_normal(speech_s * RATE_HZ)).astype(np.float32)
        walls_s, processor_s = [], []
        for _ in range(_TURNS + 1):
            started, begun = time.perf_counter(), time.process_time()
            recognizer.recognize(samples)
            walls_s.append(time.perf_counter() - started)
            processor_s.append(time.process_time() - begun)
        name = f"{speech_s} s of speech"
        figures += [
            Figure(name=name, value=statistics.median(walls_s[1:]), unit="s", at_most=most_s),
            Figure(name=f"{name}, processor time", value=statistics.median(processor_s[1:]), unit="s"),
        ]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return [*figures, Figure(name="Peak memory", value=peak_mb, unit="MB")]
