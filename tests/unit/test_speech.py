"""Speech: what file is taken and what is not, and how MedASR's text becomes a person's."""

from __future__ import annotations

import io
import shutil
import struct
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.checkpoints.known import MEDASR, folder_of
from models.medasr.recognizer import LONGEST, SpeechRecognizer, in_plain_text
from tests.licensed import models_needed
from worklist.errors import InvalidInput, ModelUnavailable
from worklist.spoken.wav import MOST_BYTES, RATE_HZ, read_wav


def tone(seconds: float, *, rate_hz: int = RATE_HZ, channels: int = 1, loud: float = 0.3, hz: float = 440) -> bytes:
    """A WAV file with a tone."""
    values = 32767 * loud * np.sin(2 * np.pi * hz * np.arange(int(seconds * rate_hz)) / rate_hz)
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(values.astype("<i2").repeat(channels).tobytes())
    return stream.getvalue()


TONE = tone(1)


def test_speech_is_taken_sample_for_sample() -> None:
    """16 kHz, 16 bits, one channel: a second has 16,000 samples, and the longest file is within the limit."""
    speech = read_wav(TONE)
    assert speech.duration_s == 1
    assert speech.samples == TONE[44:]
    assert len(tone(60)) < MOST_BYTES


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "no_audio"),
        (b"OggS" + TONE, "not_a_wav"),
        (b"RIFF", "not_a_wav"),
        (TONE[:20], "wav_cut"),
        (TONE[:44], "wav_cut"),
        (TONE[: len(TONE) // 2], "wav_cut"),
        (TONE[:20] + b"\x03" + TONE[21:], "wav_not_pcm"),  # floating point
        (tone(1, rate_hz=44_100), "wav_rate"),
        (tone(1, channels=2), "wav_channels"),
        (TONE[:32] + struct.pack("<HH", 1, 8) + TONE[36:], "wav_bits"),
        (tone(0.1), "speech_too_short"),
        (tone(61), "speech_too_long"),
        (tone(1, loud=0), "speech_silent"),
        (tone(1, loud=0.001), "speech_silent"),
    ],
)
def test_any_other_audio_has_one_line(content: bytes, code: str) -> None:
    """No audio, another format, half a file, another rate, two channels, too little, too much, silence."""
    with pytest.raises(InvalidInput) as refused:
        read_wav(content)
    assert refused.value.code == code
    assert "\n" not in refused.value.message


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 60), st.binary(min_size=1, max_size=8), st.integers(0, 400))
def test_a_damaged_wav_is_read_or_refused(place: int, damage: bytes, kept: int) -> None:
    """Whatever stands in its header and wherever it ends, nothing else is raised."""
    content = (TONE[:place] + damage + TONE[place + len(damage) :])[: 44 + kept]
    try:
        read_wav(content)
    except InvalidInput as refused:
        assert "\n" not in refused.message  # noqa: PT017 - either is right


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("no pneumothorax {period}</s>", "no pneumothorax."),
        ("[FINDINGS] {colon} small effusion {comma} left { period }", "[FINDINGS]: small effusion, left."),
        ("a {new paragraph} b {new paragraph} {new paragraph} c", "a\n\nb\n\nc"),
        ("is there an effusion {question mark}", "is there an effusion?"),
        ("dose {some command} five", "dose some command five"),
        ("</s><unk> <extra_id_3> {", "{"),
        ("", ""),
    ],
)
def test_marks_are_written_as_a_person_would(written: str, text: str) -> None:
    """Names of marks in braces become the marks, an unknown name keeps its words, the model's own marks go."""
    assert in_plain_text(written) == text


@pytest.mark.parametrize("written", ["a " * 100_000, "{" * 20_000, "{ " * 20_000, "\n" * 50_000])
def test_a_text_has_an_end(written: str) -> None:
    """However much a model writes."""
    assert len(in_plain_text(written)) <= LONGEST


@models_needed
def test_a_stand_in_hears_the_same_each_time(stand_ins: Path) -> None:
    """Loaded as the real one is, it names itself a stand-in, and its text is bounded by the length of the speech."""
    recognizer = SpeechRecognizer(folder_of(MEDASR, stand_ins), threads=1)
    assert recognizer.algorithm.name == "medasr-stand-in"
    noise = (0.1 * np.random.default_rng(0).standard_normal(2 * RATE_HZ)).astype(np.float32)
    heard = {recognizer.recognize(noise) for _ in range(2)}
    assert len(heard) == 1
    assert len(heard.pop()) <= LONGEST


@models_needed
@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "file_missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"version https://git-lfs"), "file_size"),
        (lambda folder: (folder / "manifest.json").unlink(), "not_pinned"),
    ],
)
def test_a_spoilt_checkpoint_is_refused(
    stand_ins: Path, tmp_path: Path, spoil: Callable[[Path], object], code: str
) -> None:
    """As every licensed model's: nothing loads but what was pinned."""
    folder = Path(shutil.copytree(folder_of(MEDASR, stand_ins), tmp_path / "medasr"))
    spoil(folder)
    with pytest.raises(ModelUnavailable) as refused:
        SpeechRecognizer(folder)
    assert refused.value.code == code
