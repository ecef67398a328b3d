"""Clinical notes: how many statements the rules find on the marked sentences, and how long a note takes."""

from __future__ import annotations

from functools import partial

from bench.figures import Figure, median_ms
from tests.notes.marked import DEVELOP, HELD_OUT, count, sentences_of
from worklist.notes.reading import MOST_CHARACTERS, read_note

_F1 = 0.93
_REPEATS = 5
_NOTE_CHARACTERS = 2_000


def measure_notes() -> list[Figure]:
    """F1, precision and recall of both sets without a language model; a usual note, and the longest that is read."""
    figures = []
    for name, path in (("developed on", DEVELOP), ("held out", HELD_OUT)):
        counted = count(path)
        figures += [
            Figure(
                name=f"Statements, {counted.sentences} sentences {name}: F1", value=counted.f1, unit="", at_least=_F1
            ),
            Figure(name="... precision", value=counted.precision, unit=""),
            Figure(name="... recall", value=counted.recall, unit=""),
        ]
    text = "\n".join(sentence for path in (DEVELOP, HELD_OUT) for sentence, _ in sentences_of(path))
    usual, longest = text[:_NOTE_CHARACTERS], (f"{text}\n" * 10)[:MOST_CHARACTERS]
    for one in (usual, longest):
        took_ms = median_ms(partial(read_note, one), _REPEATS)
        figures.append(Figure(name=f"A note of {len(one)} characters read", value=took_ms, unit="ms"))
    return figures
