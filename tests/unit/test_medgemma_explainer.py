"""The explainer by a language model over a real connection: what it takes over, repairs and gives up."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest

from models.context import PriorFilm, StudyContext
from models.medgemma.server import OpenAiServer
from tests.language_films import GOOD_SENTENCE, LanguageStudy, explainer_at
from tests.language_servers import MODEL, answer_json, scripted, send_bytes, send_json
from tests.servers import free_ports
from worklist.account import CONFIRM, Change, Comparison, Layer, Verdict
from worklist.errors import ModelUnavailable
from worklist.finding import TURNED_FILM, Analysis, Region, Side

STUDY = LanguageStudy()
REPORTS = (("1.2.9", "Small left pleural effusion."),)
GOOD = answer_json(
    GOOD_SENTENCE,
    statements=[
        {"finding": "pleural effusion", "side": "left", "certainty": "probable"},
        {"finding": "mass", "side": "right", "certainty": "probable"},
    ],
    boxes=[{"box_2d": [500, 500, 1000, 750], "label": "pleural effusion"}],
    comparison="worsened",
    quotes=[2, 9],
)
BAD = answer_json("Normal film without findings.")

Reply = str | Callable[[BaseHTTPRequestHandler], None]


def explained(*replies: Reply, context: StudyContext | None = None, time_limit_s: float = 60.0) -> tuple[Analysis, int]:
    """What comes of a server's replies, and how often it was asked."""
    with scripted(*replies) as server:
        found = STUDY.explained(explainer_at(server.url, time_limit_s=time_limit_s), context or StudyContext())
        return found, len(server.asked)


def why_template(found: Analysis) -> str:
    """Why the template explained; the words are the template's."""
    assert found.explainer is not None
    assert found.explainer.name == "Firstread template"
    assert found.explanation == "Pleural effusion likely, left; Cardiomegaly possible."
    assert found.account is not None
    assert found.account.instead_of == f"{MODEL}, version as served"
    assert found.account.statements == ()
    return found.account.why


def test_a_good_answer_is_taken_over_and_signed() -> None:
    """Its line with the confirmation, statements with their origin and box, comparison, quotation, and the trace."""
    found, asked = explained(GOOD, context=StudyContext(reason="Cough.", prior_reports=REPORTS))
    assert asked == 1
    assert found.explanation == (
        f"{GOOD_SENTENCE} Seen by the language model alone, not by the scores: mass. {CONFIRM}"
    )
    assert (found.explainer and found.explainer.name, found.prompt_version) == (MODEL, "medgemma-1")
    account = found.account
    assert account is not None
    assert [(one.words, one.is_supported, one.region) for one in account.statements] == [
        ("Pleural effusion probable, left", True, Region(x=500, y=600, width=300, height=600)),
        ("Mass possible, right", False, None),
        ("Cardiomegaly possible", True, None),
    ]
    assert account.comparison == Comparison(change=Change.WORSENED, compared_with=("report 1.2.9",))
    assert account.uncertainty == "Limited by a single frontal view."
    assert [(one.source, one.snippet) for one in found.snippets] == [("1.2.9", "Small left pleural effusion.")]
    assert [(check.layer, check.verdict) for check in account.checks] == [
        (Layer.INPUT, Verdict.PASSED),
        (Layer.SCHEMA, Verdict.PASSED),
        (Layer.LANGUAGE, Verdict.PASSED),
        (Layer.CONSISTENCY, Verdict.CHANGED),
        (Layer.CONFIRMATION, Verdict.PASSED),
    ]
    assert found.findings == STUDY.analysis.findings


def test_nothing_is_compared_where_there_is_nothing_to_compare_with() -> None:
    """A change since nothing is not taken over, whatever the model answers."""
    found, _ = explained(GOOD)
    assert found.account is not None
    assert found.account.comparison is None


def test_an_earlier_film_stands_before_the_present_one() -> None:
    """Both as data URLs, images first; the change names the film."""
    other = LanguageStudy(analysis=replace(STUDY.analysis))
    prior = PriorFilm(radiograph=lambda: other.radiograph(STUDY.analysis.image), source="1.2.8", taken="3 March 2026")
    with scripted(GOOD) as server:
        found = STUDY.explained(explainer_at(server.url), StudyContext(prior_film=prior))
        content = server.asked[0]["messages"][1]["content"]
    assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
    assert all(part["image_url"]["url"].startswith("data:image/png;base64,") for part in content[:2])
    assert "earlier film of 3 March 2026" in content[2]["text"]
    assert found.account is not None
    assert found.account.comparison == Comparison(change=Change.WORSENED, compared_with=("film 1.2.8",))


def test_a_refused_answer_is_repaired_by_asking_once_more() -> None:
    """The model is told what was wrong, and its second answer counts."""
    with scripted(BAD, GOOD) as server:
        found = STUDY.explained(explainer_at(server.url))
        first, second = (body["messages"][1]["content"][-1]["text"] for body in server.asked)
    assert found.explanation.startswith(GOOD_SENTENCE)
    assert "refused" not in first
    assert "Your last answer was refused" in second
    assert "it reassures" in second
    assert found.account is not None
    assert [check.attempt for check in found.account.checks if check.verdict is Verdict.REFUSED] == [1, 1]


def _says(values: object, status: int = 200) -> Reply:
    return lambda handler: send_json(handler, values, status)


def _dies_midway(handler: BaseHTTPRequestHandler) -> None:
    send_bytes(handler, b'{"choices": [{"message"', promised=4096)
    handler.wfile.flush()
    handler.connection.shutdown(socket.SHUT_RDWR)


def _never_ends(handler: BaseHTTPRequestHandler) -> None:
    send_bytes(handler, b" " * 2_000_000, promised=10_000_000)


_HALF = {"choices": [{"message": {"content": GOOD[:80]}, "finish_reason": "length"}]}


@pytest.mark.parametrize(
    ("reply", "why", "asked"),
    [
        (_says(_HALF), "refused twice: the answer is not one JSON object", 2),
        (BAD, "refused twice: it reassures", 2),
        ("What a nice film.", "refused twice: the answer is not one JSON object", 2),
        ("", "refused twice: the answer is not one JSON object", 2),
        (_says({"choices": [{"message": {"content": None}}]}), "refused twice: the answer is not one JSON object", 2),
        (
            _says({"error": {"message": "oops, Jane Doe", "type": "server_error"}}),
            "answers 200 and an error (server_error)",
            2,
        ),
        (_says({"error": "Jane Doe"}), "answers 200 and an error: see its log", 2),
        (_says({"error": {"type": "exceed_context_size_error"}}, 400), "answers 400 and an error (exceed_context", 1),
        (_says({"error": {"type": "Bearer x y"}}, 401), "answers 401 and an error: see its log", 1),
        (_says({"detail": "?"}, 500), "answers 500 and an error", 2),
        (_says({"choices": []}), "answers 200 without an answer", 2),
        (_says([]), "answers 200 without an answer", 2),
        (lambda handler: send_bytes(handler, b"<html>"), "answers 200 without JSON", 2),
        (_dies_midway, "does not answer (RemoteProtocolError)", 2),
        (_never_ends, "sends an answer without end", 2),
    ],
)
def test_a_server_that_answers_nonsense_costs_words_alone(reply: Reply, why: str, asked: int) -> None:
    """The template explains and says why; tries are bounded, and nothing of the server's message is repeated."""
    found, count = explained(reply)
    told = why_template(found)
    assert why in told
    assert "Jane" not in told
    assert count == asked


def test_a_server_that_hiccups_once_is_asked_again() -> None:
    """A connection that breaks is tried again, without counting as a refused answer."""
    found, count = explained(_dies_midway, GOOD)
    assert found.explanation.startswith(GOOD_SENTENCE)
    assert count == 2


def test_a_dead_server_is_named_and_left_alone_for_a_while() -> None:
    """The next study is explained by the template at once, and says the same; the server is not even asked."""
    (port,) = free_ports(1)
    explainer = explainer_at(f"http://127.0.0.1:{port}", rest_s=3600)
    first = STUDY.explained(explainer)
    with socket.create_server(("127.0.0.1", port)) as alive:
        second = STUDY.explained(explainer)
        alive.settimeout(0)
        with pytest.raises(BlockingIOError):
            alive.accept()
    assert "does not answer (ConnectError): start it" in why_template(first)
    assert why_template(second) == f"not asked, since a moment before {why_template(first)}"


def test_a_server_that_never_answers_is_given_up() -> None:
    """After the time that the site gives; the connection is closed, so that the server stops too."""
    gone = threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        handler.connection.settimeout(60)
        if handler.connection.recv(1) == b"":
            gone.set()

    found, asked = explained(wait, time_limit_s=3)
    assert why_template(found) == "the model took longer than FIRSTREAD_EXPLAINER_TIME_LIMIT_S allows"
    assert not asked or gone.wait(60), "on a slow machine the time may be up before the question is out"


def test_a_study_that_was_read_meanwhile_is_not_waited_for() -> None:
    """Neither is one of which a newer film has come: the connection is closed, and the template says why."""
    gone, begun = threading.Event(), threading.Event()

    def wait(handler: BaseHTTPRequestHandler) -> None:
        begun.set()
        handler.connection.settimeout(60)
        if handler.connection.recv(1) == b"":
            gone.set()

    context = StudyContext(why_unwanted=lambda: "the study has been read" if begun.is_set() else "")
    started = time.monotonic()
    found, _ = explained(wait, context=context, time_limit_s=250)
    assert why_template(found) == "the study has been read"
    assert gone.wait(60)
    assert time.monotonic() - started < 250


@pytest.mark.parametrize("skip", ["the model was busy: it explains flagged and STAT studies first"])
def test_a_busy_model_is_not_asked(skip: str) -> None:
    """The template explains at once, with the reason that it was given."""
    found, asked = explained(GOOD, context=StudyContext(skip=skip))
    assert (why_template(found), asked) == (skip, 0)


def test_a_turned_film_is_the_templates() -> None:
    """The model is not shown what it would take for something else; the gate says so."""
    study = STUDY.noted(TURNED_FILM)
    with scripted(GOOD) as server:
        found = study.explained(explainer_at(server.url))
        assert server.asked == []
    assert found.account is not None
    assert "lies on its side" in found.account.why
    assert found.account.checks[1].verdict is Verdict.REFUSED


def test_a_mirrored_film_keeps_the_patients_sides() -> None:
    """A box that the model draws at its right, the patient's left, lies at the left of a film that is mirrored."""
    found = STUDY.noted("mirrored_film")
    turned = replace(
        found.analysis, findings=tuple(replace(one, region=None, side=Side.LEFT) for one in found.analysis.findings)
    )
    with scripted(GOOD) as server:
        account = LanguageStudy(analysis=turned).explained(explainer_at(server.url)).account
    assert account is not None
    assert account.statements[0].region == Region(x=200, y=600, width=300, height=600)


def test_a_key_is_sent_and_the_schema_with_it() -> None:
    """What the server is told: who asks, the schema to keep to, the token limit, and nothing to be inventive with."""
    with scripted(GOOD) as server:
        model = OpenAiServer(f"{server.url}/v1/", MODEL, "secret")
        assert model.check() == f"{MODEL} at {server.url}/v1"
        STUDY.explained(explainer_at(server.url))
        body = server.asked[0]
    assert body["response_format"]["json_schema"]["strict"] is True
    assert (body["temperature"], body["model"]) == (0.0, MODEL)
    assert json.dumps(body).count("http") == 0, "no address for a server to fetch an image from"


def test_a_server_without_the_model_is_told_from_one_that_has_it() -> None:
    """So `firstread doctor` asks; the message says what to set."""
    with scripted(GOOD) as server, pytest.raises(ModelUnavailable, match="FIRSTREAD_EXPLAINER_MODEL"):
        OpenAiServer(server.url, "other").check()
    with pytest.raises(ModelUnavailable, match="does not answer"):
        OpenAiServer(f"http://127.0.0.1:{free_ports(1)[0]}", MODEL).check()


def test_a_fault_nobody_foresaw_costs_words_alone() -> None:
    """An address that is none raises in the library; the report is written, and the log has the place."""
    found = STUDY.explained(explainer_at("http://[::1"))
    assert why_template(found).startswith("unexpected ")
