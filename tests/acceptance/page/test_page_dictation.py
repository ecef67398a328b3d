"""Saying and asking on the page: typed, and through a real browser's microphone, which hears a file."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from kombu.simple import SimpleQueue
from playwright.sync_api import Browser, Page, expect, sync_playwright

from gateway.dictation.routes import Dictation, build_dictation
from gateway.intake.dispatch import Dispatcher, build_sender
from tests.browsing import HEARD, LASTING_NOTICES, find_chromium, row_of, wait_until_heard, wait_until_live
from tests.list_gateway import SITE, ListGateway, running_list
from tests.lists import EFFUSION, NOBODY, NOTHING, PNEUMOTHORAX, FilledList, uid_of
from tests.unit.test_speech import tone
from worklist.errors import FirstreadError
from worklist.finding import DISCLAIMER
from worklist.job import Queue
from worklist.reading import ReadingState
from worklist.records import Database, JobRecords, PredictionRecords, UploadFiles
from worklist.spoken.wav import RATE_HZ, Speech, read_wav

TONE_HZ = 440
_LOOK_S = 0.2
_PATIENCE_S = 20.0
_BEAT_S = 5.0


@dataclass
class Worker:
    """Takes speech from the broker as a worker does, keeps it for the test, and hears in it what the test says."""

    speeches: PredictionRecords
    jobs: JobRecords
    hears: str = "next patient"
    speech: list[Speech] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    may_answer: threading.Event = field(default_factory=threading.Event)

    def run(self, queue: SimpleQueue) -> None:
        """Serve the queue until the test is over."""
        said_at = 0.0
        while not self.stopping.is_set():
            if time.monotonic() - said_at >= _BEAT_S:
                said_at = time.monotonic()
                self.jobs.say_alive((Queue.DICTATE,))
            with suppress(queue.Empty):
                message = queue.get(timeout=_LOOK_S)  # type: ignore[no-untyped-call]  # kombu has types, but for this
                message.ack()
                self._hear(message.payload[0][0])

    def _hear(self, speech_id: str) -> None:
        assert self.speeches.take(speech_id, datetime.now(UTC))
        with self.speeches.files.film(speech_id) as file:
            self.speech.append(read_wav(file.read()))
        self.may_answer.wait(_PATIENCE_S)
        model = {"name": "medasr-stand-in", "version": "stand-in", "sha256": "0" * 64}
        heard = {"text": self.hears, "elapsed_ms": 1.0, "model": model}
        self.speeches.complete(speech_id, "{}", (), reading=json.dumps(heard))


@dataclass
class Room:
    """A list that hears speech, who hears it, and a browser with a microphone."""

    gateway: ListGateway
    worker: Worker
    browser: Browser

    @property
    def listed(self) -> FilledList:
        """The records."""
        return self.gateway.listed


@pytest.fixture(scope="module")
def room(migrated_sqlite: bytes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """Three studies; the microphone hears a tone of 440 Hz, again and again."""
    folder = tmp_path_factory.mktemp("dictation")
    (folder / "firstread.db").write_bytes(migrated_sqlite)
    (folder / "tone.wav").write_bytes(tone(2, rate_hz=48_000, hz=TONE_HZ))
    sender = build_sender("memory://")
    with closing(Database(f"sqlite:///{folder / 'firstread.db'}")) as database:
        listed, speeches = FilledList(database), PredictionRecords(database, UploadFiles(folder / "uploads"))
        listed.add(1, "Okafor^Ngozi", minutes=18, findings=PNEUMOTHORAX)
        listed.add(2, "Lindqvist^Per", minutes=64, findings=EFFUSION)
        listed.add(3, "Haddad^Layla", minutes=31, findings=NOTHING)
        worker, dispatcher = Worker(speeches, listed.jobs), Dispatcher(listed.jobs, sender)
        dictation = Dictation(
            worklist=listed.worklist, speeches=speeches, dispatcher=dispatcher, jobs=listed.jobs, is_heard=True
        )
        with (
            running_list(
                listed, site=replace(SITE, is_speech_heard=True), beside=[build_dictation(dictation)]
            ) as gateway,
            sender.connection_for_read() as connection,
            sync_playwright() as driver,
        ):
            thread = threading.Thread(target=worker.run, args=[connection.SimpleQueue(Queue.DICTATE.task)])
            thread.start()
            media = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
            heard = f"--use-file-for-fake-audio-capture={folder / 'tone.wav'}"
            chromium = driver.chromium.launch(executable_path=find_chromium(), args=[*media, heard])
            yield Room(gateway, worker, chromium)
            chromium.close()
            worker.stopping.set()
            thread.join()


@pytest.fixture
def page(room: Room) -> Iterator[Page]:
    """The list's page with the first study open, unread again; any script error fails the test."""
    room.worker.may_answer.set()
    for number in (1, 2, 3):
        with suppress(FirstreadError):
            room.listed.readings.put_back(NOBODY, uid_of(number))
    context = room.browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark")
    opened, troubles = context.new_page(), []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda said: troubles.append(said.text) if said.type in {"error", "warning"} else None)
    opened.add_init_script(LASTING_NOTICES)
    opened.add_init_script(HEARD)
    opened.add_init_script("localStorage.setItem('firstread.reader', 'Dr. Nguyen')")
    opened.goto(room.gateway.url)
    wait_until_live(opened)
    row_of(opened, 1).locator(".name").focus()
    opened.keyboard.press("Enter")
    expect(opened.locator("#dictation")).to_be_visible()
    yield opened
    context.close()
    assert troubles == []


def say(page: Page, words: str) -> None:
    """Type words and hand them over."""
    page.fill("#ask", words)
    page.press("#ask", "Enter")


def test_a_typed_question_is_answered_beside_the_study(page: Page) -> None:
    """In the words of the list, with the disclaimer; letters in the box are no keys, and another study clears it."""
    page.locator("#ask").focus()
    page.keyboard.type("r d u n what was found")
    expect(page.locator("#ask")).to_have_value("r d u n what was found")
    say(page, "What was found?")
    expect(page.locator("#answer")).to_contain_text("Pneumothorax likely")
    expect(page.locator("#answered")).to_contain_text(DISCLAIMER)
    row_of(page, 2).locator(".patient").click()
    expect(page.locator("#details-name")).to_contain_text("Lindqvist")
    expect(page.locator("#answered")).to_be_hidden()


def test_a_typed_command_does_what_its_key_does(page: Page, room: Room) -> None:
    """Read, with an undo; put back; a finding agreed with by its name; the next study."""
    say(page, "agree with the pneumothorax")
    expect(page.locator("#notice-text")).to_have_text("You agree: Pneumothorax.")
    say(page, "mark as read")
    expect(page.locator("#notice-text")).to_contain_text("Okafor, Ngozi: read.")
    expect(page.locator("#undo")).to_be_visible()
    study = room.listed.worklist.find(uid_of(1))
    assert study
    assert study.reading.state is ReadingState.READ
    page.click("#undo")
    expect(page.locator("#notice-text")).to_contain_text("Put back: Okafor, Ngozi")


def test_dictated_text_is_shown_to_be_copied_and_kept_nowhere(page: Page) -> None:
    """It is no command, and no note of the study."""
    say(page, "Small pleural effusion on the left.")
    expect(page.locator("#dictated-text")).to_have_text("Small pleural effusion on the left.")
    expect(page.locator("#dictated")).to_contain_text("It is kept nowhere.")
    expect(page.locator("#dictated")).to_contain_text(DISCLAIMER)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.locator("#notice-text")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == "Small pleural effusion on the left."


def test_speech_arrives_at_16_khz_and_is_done(page: Page, room: Room) -> None:
    """Held down, the key records: what was heard comes whole, at its own pitch, and the next study is shown."""
    room.worker.speech.clear()
    page.locator("#details-name").focus()
    page.keyboard.down("t")
    expect(page.locator("#talk")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#heard")).to_contain_text("Listening")
    wait_until_heard(page, 1.5)
    page.keyboard.up("t")
    expect(page.locator("#talk")).to_have_attribute("aria-pressed", "false")
    expect(page.locator("#heard")).to_contain_text("next patient")
    expect(page.locator("#details-name")).not_to_contain_text("Okafor")
    (speech,) = room.worker.speech
    assert speech.duration_s > 1
    samples = np.frombuffer(speech.samples, "<i2").astype(float)
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    loudest_hz = spectrum.argmax() * RATE_HZ / len(samples)
    assert loudest_hz == pytest.approx(TONE_HZ, abs=5)
    assert not [file for file in room.worker.speeches.files.folder.rglob("*") if file.is_file()]


def test_a_spoken_question_is_answered_and_the_button_talks_too(page: Page, room: Room) -> None:
    """A click begins, another ends."""
    room.worker.hears = "how sure?"
    page.click("#talk")
    expect(page.locator("#talk")).to_have_attribute("aria-pressed", "true")
    wait_until_heard(page, 1.5)
    page.click("#talk")
    expect(page.locator("#answer")).to_contain_text("Of 100 films marked like this, about 74 had it")


def test_a_command_never_reaches_another_study(page: Page, room: Room) -> None:
    """Who goes on before a command is understood is asked to say it again: nothing is read unseen."""
    room.worker.hears = "mark as read"
    room.worker.may_answer.clear()
    page.click("#talk")
    expect(page.locator("#talk")).to_have_attribute("aria-pressed", "true")
    wait_until_heard(page, 1.0)
    page.click("#talk")
    row_of(page, 2).locator(".patient").click()
    expect(page.locator("#details-name")).to_contain_text("Lindqvist")
    room.worker.may_answer.set()
    expect(page.locator("#heard")).to_contain_text("Not done: another study is in sight by now.")
    states = {room.listed.worklist.find(uid_of(number)).reading.state for number in (1, 2)}  # type: ignore[union-attr]
    assert states == {ReadingState.UNREAD}


def test_only_the_page_itself_may_open_the_microphone(room: Room, page: Page) -> None:
    """By Permissions Policy, and only where speech is heard."""
    answer = page.request.get(room.gateway.url)
    assert answer.headers["permissions-policy"] == "camera=(), geolocation=(), microphone=(self)"
    assert page.request.get(f"{room.gateway.url}try").headers["permissions-policy"].endswith("microphone=()")


def test_where_no_speech_is_heard_the_page_says_so(room: Room) -> None:
    """The box for words is there, a microphone is not."""
    context = room.browser.new_context()
    with running_list(room.listed) as deaf:
        shown = context.new_page()
        shown.goto(deaf.url)
        wait_until_live(shown)
        shown.locator("#rows .name").first.click()
        expect(shown.locator("#dictation")).to_contain_text("No speech is heard here: type instead.")
        expect(shown.locator("#talk")).to_have_count(0)
    context.close()
