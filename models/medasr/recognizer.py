"""MedASR: 16 kHz mono speech to the words of a dictation, by greedy CTC decoding (Graves 2006).

The network says for each 40 ms which piece of a word is heard, or none (the blank). What repeats without a blank
between is one piece. So the text is never longer than the speech allows, and nothing can run away.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from models.checkpoints.known import MEDASR
from models.checkpoints.loading import load_strictly, not_installed, reading
from models.checkpoints.manifest import verified
from worklist.errors import ModelUnavailable
from worklist.finding import Algorithm
from worklist.spoken.wav import RATE_HZ
from worklist.uids import device_uid

LONGEST: Final = 4000
"""Characters of a text: a minute of fast speech has a quarter of it."""
_SPOKEN_MARKS: Final = {
    "period": ".", "comma": ",", "colon": ":", "semicolon": ";", "question mark": "?", "exclamation point": "!",
    "hyphen": "-", "slash": "/", "open paren": "(", "close paren": ")", "new line": "\n", "newline": "\n",
    "new paragraph": "\n\n",
}  # fmt: skip
"""What MedASR writes in braces where somebody dictates a mark."""
_MARK: Final = re.compile(r" ?\{([^{}]*)\}")
_EMPTY_LINES: Final = re.compile(r"\n{3,}")
_SENTINEL: Final = re.compile(r"</?s>|<unk>|<pad>|<extra_id_\d+>")


class SpeechRecognizer:
    """The checkpoint of a folder, on the processor.

    Args:
        folder: the checkpoint's, with its manifest.
        threads: of the processor.

    Raises:
        ModelUnavailable: a file is missing, damaged or not the one that it should be, or a library is not installed;
            the code says which.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        manifest = verified(folder, MEDASR)
        try:
            import torch  # noqa: PLC0415 - of the extra models
            from transformers import AutoModelForCTC, AutoProcessor  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise not_installed(error) from error
        torch.set_num_threads(threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of torch, about a convolution whose kernel has an even width
            self._model = load_strictly(AutoModelForCTC, folder)
        with reading(folder):
            self._processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
            _require_its_rate(self._processor, folder)
        self._algorithm = Algorithm(
            name="medasr-stand-in" if manifest.is_stand_in else manifest.repository.rpartition("/")[2],
            version=manifest.short_revision,
            sha256=manifest.sha256,
            device_uid=device_uid(manifest.sha256),
        )

    @property
    def algorithm(self) -> Algorithm:
        """Repository, revision and digest of the weights."""
        return self._algorithm

    def recognize(self, samples: npt.NDArray[np.float32]) -> str:
        """What is said; empty where nothing is.

        Args:
            samples: 16 kHz, shape (n,), from -1 to 1.
        """
        import torch  # noqa: PLC0415 - is loaded by now

        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # as above
            inputs = self._processor(samples, sampling_rate=RATE_HZ)
            tokens = self._model.generate(**inputs)
        return in_plain_text(self._processor.batch_decode(tokens)[0])


def in_plain_text(written: str) -> str:
    """What MedASR writes as a person would: marks in place of their names in braces, and no marks of its own.

    Args:
        written: such as "no effusion {period}</s>".
    """
    text = " ".join(_SENTINEL.sub(" ", written).split())
    text = _MARK.sub(lambda mark: _SPOKEN_MARKS.get(mark[1].strip().lower(), f" {mark[1]} "), text)
    lines = (" ".join(line.split()) for line in text.split("\n"))
    return _EMPTY_LINES.sub("\n\n", "\n".join(lines)).strip()[:LONGEST]


def _require_its_rate(processor: Any, folder: Path) -> None:  # noqa: ANN401 - transformers has no types
    rate_hz = processor.feature_extractor.sampling_rate
    if rate_hz != RATE_HZ:
        raise ModelUnavailable(
            "checkpoint_invalid", f"{folder} hears speech at {rate_hz} Hz, not {RATE_HZ}: download it again"
        )
