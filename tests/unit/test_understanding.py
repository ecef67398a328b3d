"""What is said, understood: commands, questions and dictated text, by the phrases of the grammar alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.spoken.answers import NO_STUDY, NOT_UNDERSTOOD, answer
from worklist.spoken.understanding import Kind, commands, phrases, understand

COMMANDS = {
    "next": ["Next patient.", "next", "go to the next one", "Next study, please"],
    "previous": ["go back", "previous patient"],
    "read": ["mark as read", "Mark it as read.", "this study is read", "I've read this one"],
    "next_read": ["Read and next", "mark as read and go to the next patient"],
    "unread": ["put back", "Put it back.", "undo", "take that back"],
    "claim": ["claim", "I'm reading this"],
    "open": ["open", "Open the film.", "show me the image"],
    "compare": ["compare with the prior", "Compare it with the last film", "show the prior"],
    "details": ["show the details"],
    "close": ["close"],
    "agree": ["agree", "I agree with the effusion", "agree with pneumothorax on the right"],
    "disagree": ["disagree with the effusion", "I don't see the pneumothorax", "I do not agree"],
}
QUESTIONS = {
    "findings": ["What was found?", "What was found on the left?", "anything on the right side"],
    "finding": ["Is there a pneumothorax?", "what about the effusion", "on which side is the effusion"],
    "sure": ["how sure?", "How sure are you about the effusion?", "what is the score for pneumothorax"],
    "place": ["Why is it first?", "why is this study flagged", "is it urgent?"],
    "change": ["What changed since the last film?", "is the effusion new?", "is there a prior?"],
    "report": ["What did the last report say?"],
    "reason": ["What is the question?", "why was the film ordered"],
    "explanation": ["Explain this film.", "read me the explanation"],
    "quality": ["how good is the film"],
    "limits": ["Is the film normal?", "what do you not look for?", "did the AI miss anything?"],
    "model": ["which model is this", "who says so?"],
    "help": ["what can I say?"],
}
DICTATED = [
    "No pneumothorax. Small left pleural effusion.",
    "There is no effusion.",
    "Heart size is normal.",
    "Left lung clear.",
    "The next film should be taken in expiration.",
    "Effusion is right sided.",
    "I put the drain back.",
    "Mark the skin before the next study and read the old report.",
    "",
    "next patient " * 20,
]


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, ways in COMMANDS.items() for said in ways])
def test_a_command_is_understood(name: str, said: str) -> None:
    """However it is put, with its words and the key that does the same."""
    understood = understand(said)
    assert (understood.kind, understood.name) == (Kind.COMMAND, name)
    assert (understood.says, understood.key) in commands()


@pytest.mark.parametrize(("name", "said"), [(name, said) for name, ways in QUESTIONS.items() for said in ways])
def test_a_question_is_understood(name: str, said: str) -> None:
    """However it is put; without a study there is nothing that it could be about."""
    understood = understand(said)
    assert (understood.kind, understood.name) == (Kind.QUESTION, name)
    assert (answer(understood, None) == NO_STUDY) == (name != "help")


@pytest.mark.parametrize("said", DICTATED)
def test_a_sentence_of_a_report_is_text(said: str) -> None:
    """Only the whole of what is said makes a command: nothing is marked read because a dictation mentions it."""
    assert understand(said).kind is Kind.TEXT


def test_every_command_and_question_is_tested_here() -> None:
    """A phrase that is added to the grammar is tried, too."""
    assert {phrase.name for phrase in phrases() if phrase.kind is Kind.COMMAND} == COMMANDS.keys()
    assert {phrase.name for phrase in phrases() if phrase.kind is Kind.QUESTION} == QUESTIONS.keys()


@pytest.mark.parametrize(
    ("said", "finding", "side"),
    [
        ("agree with the pleural effusion", "pleural_effusion", None),
        ("I don't see the consolidation on the left", "consolidation", "left"),
        ("is there fluid on the right?", "pleural_effusion", "right"),
        ("what about the heart?", "cardiomegaly", None),
        ("is there oedema?", "pulmonary_edema", None),
        ("what was found on the left side?", "", "left"),
    ],
)
def test_findings_and_sides_are_heard(said: str, finding: str, side: str | None) -> None:
    """By the names that reports use, and those that people say."""
    understood = understand(said)
    assert (understood.finding, understood.side) == (finding, side)


def test_a_question_that_no_phrase_fits_says_what_can_be_asked() -> None:
    """Nothing is made up."""
    for said in ("What colour is the sky?", "why do birds sing", "Should I give antibiotics?"):
        understood = understand(said)
        assert (understood.kind, understood.name) == (Kind.QUESTION, "")
        assert answer(understood, None) == NOT_UNDERSTOOD


@given(st.text(max_size=200))
def test_whatever_is_said_is_understood_as_something(said: str) -> None:
    """No text breaks it."""
    assert understand(said).kind in Kind


@pytest.mark.parametrize("said", ["the " * 29, "small " * 20, "please " * 17, "why is it " + "first " * 18, "a" * 120])
def test_nothing_takes_long_to_understand(said: str) -> None:
    """Repeated words, which some regular expressions never get over."""
    assert understand(said).kind in Kind
