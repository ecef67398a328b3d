"""`POST /dictate`: typed words and questions on a real list, and speech heard by a real worker process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from firstread.compose_gateway import build_gateway
from firstread.processes import Program, Supervisor, wait_until_ready
from firstread.settings import Settings
from tests.gateways import served
from tests.licensed import models_needed
from tests.lists import NOTHING, PNEUMOTHORAX, FilledList, uid_of
from tests.servers import RedisServer
from tests.unit.test_speech import tone
from worklist.comparison import PriorComparison
from worklist.finding import DISCLAIMER, Analysis, FindingType, Side
from worklist.job import Queue
from worklist.records import Database
from worklist.spoken.answers import NO_STUDY, NOT_A_NEGATIVE

_PATIENCE_S = 300.0


def on_the_left(analysis: Analysis) -> Analysis:
    """The pneumothorax has a side."""
    findings = tuple(
        replace(found, side=Side.LEFT) if found.type == FindingType.PNEUMOTHORAX else found
        for found in analysis.findings
    )
    return replace(analysis, findings=findings)


@dataclass
class Heard:
    """A gateway that hears speech, and where its uploads lie."""

    web: httpx.Client
    listed: FilledList
    uploads: Path
    settings: Settings


@pytest.fixture(scope="module")
def heard(
    migrated_sqlite: bytes, redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Heard]:
    """Four studies: named on the left, without flag, not scored, failed."""
    folder = tmp_path_factory.mktemp("dictate")
    (folder / "firstread.db").write_bytes(migrated_sqlite)
    settings = Settings.model_validate(
        {
            "database_url": f"sqlite:///{folder / 'firstread.db'}",
            "broker_url": redis_server.url,
            "orthanc_url": "http://127.0.0.1:1",
            "upload_dir": folder / "uploads",
            "dictation": "medasr",
        }
    )
    with closing(Database(settings.database_url)) as database:
        listed = FilledList(database)
        question = "Dyspnea. Pneumothorax?"
        named = listed.add(1, findings=PNEUMOTHORAX, analyzed=on_the_left, question=question, is_reported=False)
        listed.report(named, explanation="A sharp edge.", prior=PriorComparison(clash="the birth date differs"))
        listed.add(2, findings=NOTHING)
        listed.add(3)
        listed.add(4, failed=True)
        with (
            served(build_gateway(settings)) as url,
            httpx.Client(base_url=url, timeout=_PATIENCE_S, trust_env=False) as web,
        ):
            yield Heard(web, listed, folder / "uploads", settings)


def typed(heard: Heard, words: str, number: int | None = None) -> dict[str, Any]:
    """What the gateway makes of typed words, beside a study where one is given."""
    path = "/dictate" if number is None else f"/dictate/{uid_of(number)}"
    answer = heard.web.post(path, json={"text": words})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert document["disclaimer"] == DISCLAIMER
    assert document["text"] == words
    assert document["model"] is None
    return document


def test_a_command_is_named_and_not_carried_out(heard: Heard) -> None:
    """The answer says which key does the same; the study is as it was."""
    before = heard.web.get(f"/worklist/{uid_of(1)}").json()
    said = typed(heard, "Mark as read.", 1)
    assert (said["kind"], said["command"]["name"], said["command"]["key"]) == ("command", "read", "r")
    assert typed(heard, "agree with the effusion")["command"]["finding"] == "Pleural effusion"
    assert heard.web.get(f"/worklist/{uid_of(1)}").json() == before


@pytest.mark.parametrize(
    ("number", "question", "wanted"),
    [
        (1, "What was found?", "Pneumothorax likely, left."),
        (1, "What was found on the left?", "On the left: pneumothorax likely."),
        (1, "What was found on the right?", "Nothing is named on the right."),
        (1, "How sure?", "Of 100 films marked like this, about 74 had it, counted on 19 films."),
        (1, "Is there an effusion?", "Pleural effusion is not named: score 0.37, and it is named from 0.50."),
        (1, "Is there pneumonia?", "Pneumonia is not found reliably by this model, so nothing is told of it."),
        (1, "Is there a mass?", "Mass is not among what is looked for here, so nothing is known of it."),
        (1, "Is there a pneumothorax on the right?", "It is not named on the right."),
        (1, "Why is it first?", "Place 1."),
        (1, "What changed?", "The birth date differs."),
        (1, "What is the question?", "The request says: Dyspnea. Pneumothorax?"),
        (1, "Explain it.", "A sharp edge. Explained by template, version 1. Unverified: a radiologist has to confirm"),
        (1, "Which model is this?", "Scored by embedded, version 1."),
        (1, "What is not looked for?", "Not looked for: masses, nodules, free air, fractures and lines and tubes."),
        (1, "What did the last report say?", "No earlier report was read."),
        (1, "How good is the film?", "Noted of the film: the patient is slightly rotated."),
        (2, "What was found?", "No AI flag; nothing is named."),
        (2, "How sure?", "No AI flag; nothing is named, so there is nothing to be sure of."),
        (2, "Why is it here?", "No AI flag."),
        (2, "Is there a prior?", "No prior of this patient is known here."),
        (3, "What was found?", "Not assessed by the AI, which says nothing about it."),
        (4, "What was found?", "Not assessed by the AI, which says nothing about it. The pixel data ends"),
    ],
)
def test_a_question_is_answered_from_the_studys_own_data(heard: Heard, number: int, question: str, wanted: str) -> None:
    """In the words of list and report."""
    said = typed(heard, question, number)
    assert said["kind"] == "question"
    assert wanted.lower() in said["answer"].lower()


@pytest.mark.parametrize(
    "question", ["What was found?", "Is the film normal?", "Is there a pneumothorax?", "how sure?"]
)
@pytest.mark.parametrize("number", [2, 3, 4])
def test_no_answer_reads_like_a_negative(heard: Heard, number: int, question: str) -> None:
    """Of a study without flag each one says that nothing is excluded; of one not assessed, that nothing is said."""
    said = typed(heard, question, number)["answer"]
    assert (NOT_A_NEGATIVE in said) if number == 2 else ("says nothing about it" in said)
    assert not {"normal", "negative study", "clear", "unremarkable"} & set(said.lower().replace(".", "").split())


def test_comparing_shows_and_says_what_is_known_of_the_prior(heard: Heard) -> None:
    """The command comes with the comparison, so that it can be heard."""
    said = typed(heard, "Compare with the prior.", 1)
    assert (said["command"]["name"], said["command"]["key"]) == ("compare", "o")
    assert "birth date differs" in said["answer"]


def test_a_question_without_a_study_and_a_study_that_is_not_there(heard: Heard) -> None:
    """Each has its line; dictated text has no answer."""
    assert typed(heard, "What was found?")["answer"] == NO_STUDY
    assert typed(heard, "No pneumothorax.")["answer"] is None
    answer = heard.web.post("/dictate/1.2.3.9", json={"text": "next"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_study")


@pytest.mark.parametrize(
    ("content", "kind", "status", "code"),
    [
        (b"", "audio/wav", 422, "no_audio"),
        (b"OggS", "audio/wav", 422, "not_a_wav"),
        (tone(1)[:9000], "audio/wav", 422, "wav_cut"),
        (tone(1, rate_hz=8000), "audio/wav", 422, "wav_rate"),
        (tone(1, channels=2), "audio/wav", 422, "wav_channels"),
        (tone(2, loud=0), "audio/wav", 422, "speech_silent"),
        (bytes(19_200_044), "audio/wav", 413, "too_large"),
        (tone(1), "audio/ogg", 415, "not_speech"),
        (b"next", "text/plain", 415, "not_speech"),
        (b"{", "application/json", 422, "bad_text"),
        (b'{"text": ""}', "application/json", 422, "bad_text"),
        (b'{"text": "%s"}' % (b"a" * 4001), "application/json", 422, "bad_text"),
        (b'{"text": "next", "more": 1}', "application/json", 422, "bad_text"),
    ],
)
def test_what_cannot_be_heard_is_refused_at_once(
    heard: Heard, content: bytes, kind: str, status: int, code: str
) -> None:
    """In one line, before a worker is asked; nothing of it stays."""
    answer = heard.web.post("/dictate", content=content, headers={"content-type": kind})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "\n" not in answer.json()["detail"]
    assert left(heard) == (0, [])


def left(heard: Heard) -> tuple[int, list[Path]]:
    """What is kept of uploads: rows, and files."""
    with heard.listed.database.read() as session:
        rows = session.scalar(text("SELECT count(*) FROM predictions")) or 0
    return rows, [file for file in heard.uploads.rglob("*") if file.is_file()]


def test_where_no_speech_is_heard_words_can_be_typed(heard: Heard) -> None:
    """The refusal says so, and what to set."""
    settings = heard.settings.model_copy(update={"dictation": "off"})
    with served(build_gateway(settings)) as url, httpx.Client(base_url=url, trust_env=False, timeout=60) as web:
        answer = web.post("/dictate", content=tone(1), headers={"content-type": "audio/wav"})
        assert (answer.status_code, answer.json()["code"]) == (503, "dictation_off")
        assert "FIRSTREAD_DICTATION=medasr" in answer.json()["detail"]
        assert web.post("/dictate", json={"text": "next"}).json()["command"]["name"] == "next"


def test_where_no_worker_lives_nobody_waits_for_it(heard: Heard) -> None:
    """The refusal comes at once, and says what to start."""
    answer = heard.web.post("/dictate", content=tone(1), headers={"content-type": "audio/wav"})
    assert (answer.status_code, answer.json()["code"]) == (503, "nobody_hears")
    assert "firstread worker --queues dictate" in answer.json()["detail"]
    assert left(heard) == (0, [])


def test_what_is_asked_stands_in_the_audit_trail(heard: Heard) -> None:
    """As access to the study, without what was said."""
    typed(heard, "What was found?", 1)
    wait_until_ready("the audit trail", lambda: any(uid_of(1) in row for row in audited(heard)), None)
    assert not any("found" in row for row in audited(heard))


def audited(heard: Heard) -> list[str]:
    """The rows of the audit trail."""
    with heard.listed.database.read() as session:
        return [str(tuple(row)) for row in session.execute(text("SELECT * FROM audit"))]


@models_needed
def test_a_worker_of_its_own_hears_speech(heard: Heard, stand_ins: Path, tmp_path: Path) -> None:
    """A process with MedASR takes it from the broker; nothing of it is kept, and its log tells nothing of it."""
    log = tmp_path / "worker.log"
    settings = heard.settings
    environment = {
        "FIRSTREAD_DATABASE_URL": settings.database_url,
        "FIRSTREAD_BROKER_URL": settings.broker_url,
        "FIRSTREAD_UPLOAD_DIR": str(settings.upload_dir),
        "FIRSTREAD_DICTATION": "medasr",
        "FIRSTREAD_MODEL_DIR": str(stand_ins),
    }
    command = [sys.executable, "-m", "firstread", "worker", "--queues", "dictate"]
    supervisor = Supervisor()
    try:
        supervisor.start(Program(name="worker", command=command, environment=environment, log=log))
        alive = heard.listed.jobs.living_workers
        wait_until_ready("the worker", lambda: alive()[Queue.DICTATE] > 0, log, _PATIENCE_S)
        answer = heard.web.post("/dictate", content=tone(2), headers={"content-type": "audio/wav"})
    finally:
        supervisor.stop()
    document = answer.json()
    # Random weights may hear nothing in a tone, which is told as that.
    assert (answer.status_code, document.get("code")) in {(200, None), (422, "no_words")}, answer.text
    if answer.status_code == 200:
        assert document["model"]["name"] == "medasr-stand-in"
        assert document["text"] not in log.read_text(encoding="utf-8")
    assert left(heard) == (0, [])
