"""Speech as it is handed over: RIFF WAVE, PCM of 16 bits, 16 kHz, one channel.

Whatever else a file is, one line says so. Nothing is resampled here: the page records in this form, and a program
that has another form knows how to make it.
"""

from __future__ import annotations

import io
import wave
from array import array
from dataclasses import dataclass
from typing import Final

from worklist.errors import InvalidInput

RATE_HZ: Final = 16_000
SHORTEST_S: Final = 0.2
LONGEST_S: Final = 60.0
MOST_BYTES: Final = 2 * RATE_HZ * int(LONGEST_S) + 64_000
"""Of the longest file: its samples, and what else a WAV may hold."""
_SAMPLE_BYTES: Final = 2
_SILENCE: Final = 65  # of 32768, which is -54 dB: a microphone that is off, or on another input, stays below
_HEAD: Final = 12
_WANTED: Final = "send 16 kHz, 16 bits, one channel (sox IN -r 16000 -b 16 -c 1 OUT.wav)"


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """Samples of 16 bits, little-endian, 16 kHz, one channel."""

    samples: bytes

    @property
    def duration_s(self) -> float:
        """How long it is, in seconds."""
        return len(self.samples) / _SAMPLE_BYTES / RATE_HZ


def read_wav(content: bytes) -> Speech:
    """The speech of a WAV file.

    Raises:
        InvalidInput: no_audio, not_a_wav, wav_not_pcm, wav_cut, wav_rate, wav_channels, wav_bits, speech_too_short,
            speech_too_long or speech_silent.
    """
    if not content:
        raise InvalidInput("no_audio", f"no audio came: {_WANTED}")
    if content[:4] != b"RIFF" or content[8:_HEAD] != b"WAVE":
        raise InvalidInput("not_a_wav", f"this is no WAV file: {_WANTED}")
    try:
        with wave.open(io.BytesIO(content)) as file:
            _require_form(file)
            stated = file.getnframes() * _SAMPLE_BYTES
            samples = file.readframes(file.getnframes())
    except (EOFError, RuntimeError) as error:  # RuntimeError of a part that is longer than the file
        raise _cut() from error
    except wave.Error as error:
        raise InvalidInput("wav_not_pcm", f"this WAV cannot be read ({error}): {_WANTED}") from error
    if len(samples) < stated:
        raise _cut()
    speech = Speech(samples=samples)
    if speech.duration_s < SHORTEST_S:
        raise InvalidInput("speech_too_short", "too short to hold a word: hold the key down while you speak")
    if speech.duration_s > LONGEST_S:
        raise InvalidInput(
            "speech_too_long", f"{speech.duration_s:.0f} s of speech: at most {LONGEST_S:.0f} s are heard at a time"
        )
    _require_sound(samples)
    return speech


def _require_form(file: wave.Wave_read) -> None:
    if file.getframerate() != RATE_HZ:
        raise InvalidInput("wav_rate", f"this WAV has {file.getframerate()} Hz: {_WANTED}")
    if file.getnchannels() != 1:
        raise InvalidInput("wav_channels", f"this WAV has {file.getnchannels()} channels: {_WANTED}")
    if file.getsampwidth() != _SAMPLE_BYTES:
        raise InvalidInput("wav_bits", f"this WAV has {8 * file.getsampwidth()} bits: {_WANTED}")


def _require_sound(samples: bytes) -> None:
    values = array("h", samples)
    if all(-_SILENCE < extreme < _SILENCE for extreme in (min(values), max(values))):
        raise InvalidInput("speech_silent", "only silence was recorded: is the right microphone chosen, and on?")


def _cut() -> InvalidInput:
    return InvalidInput("wav_cut", "this WAV ends before its own length: it was cut on the way, send it again")
