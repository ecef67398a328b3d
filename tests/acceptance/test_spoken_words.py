"""From the sound of words to what is done: eSpeak NG speaks, a worker process hears, and the page does it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import expect, sync_playwright

from firstread.compose_gateway import build_gateway
from firstread.processes import Program, Supervisor, wait_until_ready
from firstread.settings import Settings
from tests.browsing import HEARD, find_chromium, row_of, wait_until_heard, wait_until_live
from tests.gateways import served
from tests.licensed import require_models
from tests.lists import EFFUSION, PNEUMOTHORAX, FilledList, uid_of
from tests.servers import RedisServer
from tests.spoken_words import (
    ESPEAK_HZ,
    SENTENCES,
    as_it_is_taken,
    samples_of,
    spoken,
    wav_of,
    write_hearing_medasr,
)
from worklist.finding import Analysis, FindingType, Side
from worklist.job import Queue
from worklist.records import Database

require_models()

_PATIENCE_S = 300.0


@dataclass
class Ear:
    """A gateway, whose list has two studies, and a worker that hears what is said."""

    web: httpx.Client
    url: str
    listed: FilledList
    uploads: Path

    def hear(self, said: bytes, path: str = "/dictate") -> httpx.Response:
        """Hand a WAV file over."""
        return self.web.post(path, content=said, headers={"Content-Type": "audio/wav"})


def on_the_left(analysis: Analysis) -> Analysis:
    """The pneumothorax has that side."""
    found = analysis.findings
    return replace(
        analysis,
        findings=tuple(replace(one, side=Side.LEFT if one.type == FindingType.PNEUMOTHORAX else None) for one in found),
    )


@pytest.fixture(scope="module")
def ear(migrated_sqlite: bytes, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ear]:
    """Everything but Orthanc; the model has learnt SENTENCES."""
    folder = tmp_path_factory.mktemp("spoken")
    (folder / "firstread.db").write_bytes(migrated_sqlite)
    write_hearing_medasr(folder / "models" / "medasr")
    choices: dict[str, Any] = {
        "database_url": f"sqlite:///{folder / 'firstread.db'}",
        "broker_url": redis_server.url,
        "upload_dir": folder / "uploads",
        "dictation": "medasr",
    }
    worker = Program(
        name="worker",
        command=[sys.executable, "-m", "firstread", "worker", "--queues", "dictate"],
        environment={f"FIRSTREAD_{name.upper()}": str(value) for name, value in choices.items()}
        | {"FIRSTREAD_MODEL_DIR": str(folder / "models")},
        log=folder / "worker.log",
    )
    supervisor = Supervisor()
    with closing(Database(choices["database_url"])) as database:
        listed = FilledList(database)
        listed.add(1, "Okafor^Ngozi", minutes=18, findings=PNEUMOTHORAX, analyzed=on_the_left)
        listed.add(2, "Lindqvist^Per", minutes=64, findings=EFFUSION)
        settings = Settings.model_validate({**choices, "orthanc_url": "http://127.0.0.1:9"})
        try:
            supervisor.start(worker)
            alive = listed.jobs.living_workers
            wait_until_ready("the worker", lambda: alive()[Queue.DICTATE] > 0, worker.log, _PATIENCE_S)
            with (
                served(build_gateway(settings)) as url,
                httpx.Client(base_url=url, timeout=_PATIENCE_S, trust_env=False) as web,
            ):
                yield Ear(web, url, listed, folder / "uploads")
        finally:
            supervisor.stop()


@pytest.mark.parametrize("words", SENTENCES)
def test_what_is_said_aloud_is_understood_as_if_it_were_typed(ear: Ear, words: str) -> None:
    """Command, question and text, with the same answer; nothing of it stays."""
    path = f"/dictate/{uid_of(1)}"
    typed = ear.web.post(path, json={"text": words}).json()
    answer = ear.hear(as_it_is_taken(spoken(words)), path)
    assert answer.status_code == 200, answer.text
    heard = answer.json()
    assert heard.pop("text").lower() == words
    assert heard.pop("model")["name"] == "medasr-stand-in"
    assert {name: heard[name] for name in ("kind", "command", "side", "answer", "disclaimer")} == {
        name: typed[name] for name in ("kind", "command", "side", "answer", "disclaimer")
    }
    assert not [file for file in ear.uploads.rglob("*") if file.is_file()]


def test_the_sentences_are_of_every_kind(ear: Ear) -> None:
    """Commands, questions and dictated text, so that the test above is about all three."""
    kinds = {ear.web.post("/dictate", json={"text": words}).json()["kind"] for words in SENTENCES}
    assert kinds == {"command", "question", "text"}


def test_silence_around_the_words_changes_nothing(ear: Ear) -> None:
    """Somebody presses the key before they speak, and holds it after."""
    words = samples_of(as_it_is_taken(spoken("mark as read")))
    silence = np.zeros(12_000, np.int16)
    answer = ear.hear(wav_of(np.concatenate([silence, words, silence]), 16_000))
    assert answer.json()["command"]["name"] == "read", answer.text


@pytest.mark.parametrize(
    ("said", "code", "line"),
    [
        (lambda: spoken("next patient"), "wav_rate", f"{ESPEAK_HZ} Hz"),
        (
            lambda: wav_of(np.resize(samples_of(as_it_is_taken(spoken("next patient"))), 61 * 16_000), 16_000),
            "speech_too_long",
            "60 s",
        ),
        (
            lambda: wav_of(samples_of(as_it_is_taken(spoken("next patient"))) // 1000, 16_000),
            "speech_silent",
            "silence",
        ),
    ],
)
def test_what_espeak_says_otherwise_is_refused_in_one_line(ear: Ear, said: Any, code: str, line: str) -> None:  # noqa: ANN401
    """At its own rate of 22,050 Hz, for more than a minute, or too low to be heard."""
    answer = ear.hear(said())
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert line in answer.json()["detail"]


def test_words_said_into_a_browsers_microphone_are_done(ear: Ear, tmp_path: Path) -> None:
    """The page records, the worker hears, and the next study is shown: nothing stands in for any part but the model."""
    words = samples_of(spoken("next patient"))
    pause = np.zeros(ESPEAK_HZ // 2, np.int16)
    (tmp_path / "said.wav").write_bytes(wav_of(np.concatenate([pause, words, pause]), ESPEAK_HZ))
    arguments = [
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'said.wav'}%noloop",
    ]
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=find_chromium(), args=arguments)
        page = chromium.new_page(viewport={"width": 1440, "height": 900})
        page.add_init_script(HEARD)
        page.goto(ear.url)
        wait_until_live(page)
        row_of(page, 1).locator(".patient").click()
        expect(page.locator("#details-name")).to_contain_text("Okafor")
        expect(page.locator("#talk")).to_be_visible()
        page.locator("#details-name").focus()
        page.keyboard.down("t")
        expect(page.locator("#heard")).to_contain_text("Listening")
        wait_until_heard(page, 2.5)
        page.keyboard.up("t")
        expect(page.locator("#heard")).to_have_text("Heard: \u201cnext patient\u201d. Next study.")
        expect(page.locator("#details-name")).to_contain_text("Lindqvist")
        chromium.close()
