"""Words said aloud by eSpeak NG, and a stand-in of MedASR that has learnt to hear them.

The stand-in is MedASR's architecture, tiny, fitted in seconds to one voice saying the sentences of SENTENCES. So it
understands nothing else, and says nothing of how well MedASR hears; but what a test says to it becomes the same words,
and the whole way from sound to what is done can be walked.
"""

from __future__ import annotations

import io
import subprocess
import warnings
import wave
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.signal import resample_poly

from models.checkpoints.known import MEDASR
from models.checkpoints.manifest import STAND_IN, pin
from worklist.spoken.wav import RATE_HZ

SENTENCES: Final = (
    "next patient", "mark as read", "put back", "compare with the prior", "agree with the pneumothorax",
    "what was found on the left", "how sure", "small effusion on the right",
)  # fmt: skip
ESPEAK_HZ: Final = 22_050

_ENCODER: Final = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
    "subsampling_conv_channels": 16, "conv_kernel_size": 8, "batch_norm_momentum": 0.1,
    "dropout": 0.0, "layerdrop": 0.0, "activation_dropout": 0.0, "attention_dropout": 0.0,
}  # fmt: skip
_SPACE: Final = "\u2581"
_MARKS: Final = ("<pad>", "</s>", "<unk>", _SPACE)
_STEPS: Final = 600
_RATE: Final = 6e-3
_AT_ONCE: Final = 4
_NO_PIECE: Final = -100
_LOUDEST: Final = 32_768
_MOST_SILENCE_S: Final = 0.8


def spoken(words: str) -> bytes:
    """A sentence as eSpeak NG says it: a WAV file of 22,050 Hz, 16 bits, one channel."""
    command = ["espeak-ng", "-v", "en-us", "-s", "150", "--stdout", words]
    said = subprocess.run(command, check=True, capture_output=True, timeout=60).stdout
    return wav_of(np.frombuffer(said[44:], "<i2"), ESPEAK_HZ)  # its own header states no length


def wav_of(samples: npt.NDArray[np.int16], rate_hz: int) -> bytes:
    """A WAV file of samples."""
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(samples.astype("<i2").tobytes())
    return stream.getvalue()


def samples_of(said: bytes) -> npt.NDArray[np.int16]:
    """The samples of a WAV file."""
    with wave.open(io.BytesIO(said)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def as_it_is_taken(said: bytes) -> bytes:
    """A file of eSpeak's at 16 kHz."""
    values = resample_poly(samples_of(said).astype(np.float64), 320, 441)  # 22,050 Hz to 16,000
    return wav_of(np.clip(np.rint(values), -_LOUDEST, _LOUDEST - 1).astype(np.int16), RATE_HZ)


def write_hearing_medasr(folder: Path) -> None:
    """A checkpoint that hears SENTENCES, letter by letter, with its manifest: 25 s of one core.

    Args:
        folder: of the model, below what FIRSTREAD_MODEL_DIR names; it is made.
    """
    import torch  # noqa: PLC0415 - of the extra models
    from transformers import (  # noqa: PLC0415 - likewise
        LasrCTCConfig,
        LasrFeatureExtractor,
        LasrForCTC,
        LasrProcessor,
        LasrTokenizer,
    )

    folder.mkdir(parents=True)
    taken = [samples_of(as_it_is_taken(spoken(words))) for words in SENTENCES]
    said = [samples.astype(np.float32) / _LOUDEST for samples in taken]
    written = [sentence.replace(" ", _SPACE) for sentence in SENTENCES]
    vocabulary = [*_MARKS, *sorted(set("".join(written)) - {_SPACE})]
    processor: Any = LasrProcessor(
        LasrFeatureExtractor(), LasrTokenizer(vocab=[(piece, 0.0) for piece in vocabulary], extra_ids=0)
    )
    labels = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor([vocabulary.index(letter) for letter in sentence]) for sentence in written],
        batch_first=True,
        padding_value=_NO_PIECE,
    )
    chance = np.random.default_rng(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in the same order on every machine
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of torch, about a convolution whose kernel has an even width
        torch.manual_seed(0)
        model: Any = LasrForCTC(LasrCTCConfig(vocab_size=len(vocabulary), pad_token_id=0, encoder_config=_ENCODER))
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=_STEPS)
        for _ in range(_STEPS):
            some = chance.permutation(len(said))[:_AT_ONCE]
            heard = [_in_a_room(said[one], chance) for one in some]
            loss = model(**processor(heard, sampling_rate=RATE_HZ), labels=labels[some]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    torch.set_num_threads(threads)
    model.eval()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    pin(folder, MEDASR, STAND_IN)


def _in_a_room(samples: npt.NDArray[np.float32], chance: np.random.Generator) -> npt.NDArray[np.float32]:
    """The same with silence around it, nearer or farther, and a floor of noise or none."""
    before, after = (
        np.zeros(int(RATE_HZ * max(0, chance.uniform(-0.2, _MOST_SILENCE_S))), np.float32) for _ in range(2)
    )
    whole = np.concatenate([before, samples * chance.uniform(0.3, 1), after])
    floor = chance.choice([0.0, 1e-4, 1e-3])
    return np.asarray(np.clip(whole + floor * chance.standard_normal(len(whole)), -1, 1), dtype=np.float32)
