"""Prompt, schema and film of the language model: what it is asked, how its answer is read, and its boxes."""

from __future__ import annotations

import json
import random
import re
import string
from typing import Any

import numpy as np
import pytest

from imaging.radiograph import Radiograph
from models.medgemma.answer import BadAnswer, read_answer
from models.medgemma.film import SIDE_PX, show_film
from models.medgemma.prompt import faults_of, load_prompt, most_bytes
from tests.language_films import LanguageStudy
from tests.language_servers import answer_json
from worklist.account import Certainty, Change
from worklist.finding import KNOWN_FINDINGS, MIRRORED_FILM, FindingType, ImageReference, QualityNote, Region, Side

PROMPT = load_prompt()
STUDY = LanguageStudy()
FILM = show_film(STUDY.radiograph(STUDY.analysis.image))


def longest(schema: Any, rng: random.Random) -> object:  # noqa: ANN401 - any part of a schema
    """An answer as long as a schema allows."""
    if "enum" in schema:
        return max(schema["enum"], key=len)
    if schema["type"] == "integer":
        return schema["maximum"]
    if schema["type"] == "string":
        (words,) = re.findall(r"\{\d+,(\d+)\}\[\.\]\$$", schema["pattern"])
        word = "".join(rng.choices(string.ascii_lowercase, k=16))
        return " ".join(["A" + word[:15], *[word] * int(words)]) + "."
    if schema["type"] == "array":
        return [longest(schema["items"], rng) for _ in range(schema["maxItems"])]
    return {name: longest(part, rng) for name, part in schema["properties"].items()}


def test_the_longest_answer_fits_the_token_limit_exactly() -> None:
    """A token holds at least a byte, so with its bytes and an end mark every answer is complete."""
    answer = longest(PROMPT.schema, random.Random(1))  # noqa: S311 - no secret
    text = json.dumps(answer, separators=(",", ":"))
    assert faults_of(answer, PROMPT.schema) == []
    assert most_bytes(PROMPT.schema) == len(text.encode())
    assert PROMPT.max_tokens == most_bytes(PROMPT.schema) + 1


def test_every_part_of_the_schema_is_bounded() -> None:
    """No string, array, number or object of it can grow, and no counted repetition exceeds what xgrammar bears."""

    def check(schema: Any) -> None:  # noqa: ANN401 - any part of a schema
        kind = schema.get("type")
        assert "enum" in schema or kind in {"object", "array", "integer", "string"}
        if kind == "object":
            assert schema["additionalProperties"] is False
            assert schema["required"] == list(schema["properties"])
            for part in schema["properties"].values():
                check(part)
        if kind == "array":
            assert schema["maxItems"] <= 6
            check(schema["items"])
        if kind == "integer":
            assert {"minimum", "maximum"} <= set(schema)
        if kind == "string":
            assert schema["pattern"].startswith("^")
            assert not re.search(r"[*+]|\{\d+,\}", schema["pattern"].replace("[.]", ""))
            assert max(map(int, re.findall(r",(\d+)\}", schema["pattern"]))) <= 128

    check(PROMPT.schema)


def test_what_may_be_stated_is_known() -> None:
    """Each name of the schema is a finding of Firstread."""
    assert set(PROMPT.findings.values()) <= set(KNOWN_FINDINGS.values())
    assert "pneumothorax" in PROMPT.findings


def test_the_question_says_what_the_scores_suspect_and_numbers_foreign_lines() -> None:
    """Scores in words, lines between their marks, and the faults of an answer before."""
    text = PROMPT.question(
        scores=["pleural effusion likely, left"], data=["1.2.9: Left effusion."], has_prior_film=True, taken="3 March",
        faults="it reassures",
    )  # fmt: skip
    assert "first image is the earlier film of 3 March" in text
    assert "Scores: pleural effusion likely, left." in text
    assert "DATA\n[1] 1.2.9: Left effusion.\nEND" in text
    assert text.endswith("Your last answer was refused: it reassures. Answer again by the rules.")
    assert "excludes nothing" in PROMPT.question(scores=[], data=[], has_prior_film=False)


def test_an_answer_is_read_with_its_boxes() -> None:
    """Statements with certainty, sides and the box of their label, on the stored image; the rest as it stands."""
    answer = read_answer(
        answer_json(
            "Probable left pleural effusion.",
            statements=[
                {"finding": "pleural effusion", "side": "left", "certainty": "probable"},
                {"finding": "nodule", "side": "both", "certainty": "uncertain"},
            ],
            boxes=[{"box_2d": [500, 500, 1000, 750], "label": "pleural effusion"}],
            comparison="worsened",
            quotes=[2, 2, 1],
        ),
        PROMPT,
        FILM,
    )
    effusion, nodule = answer.statements
    assert (effusion.type, effusion.certainty, effusion.sides) == (
        FindingType.PLEURAL_EFFUSION, Certainty.PROBABLE, (Side.LEFT,)
    )  # fmt: skip
    assert effusion.region == Region(x=500, y=600, width=300, height=600)
    assert (nodule.sides, nodule.region) == ((Side.RIGHT, Side.LEFT), None)
    assert (answer.change, answer.quotes) == (Change.WORSENED, (2, 1))


@pytest.mark.parametrize("wrap", ["{}", " \n{}\n", "```json\n{}\n```", "<unused94>thought\nhm<unused95>{}"])
def test_a_thought_and_a_fence_around_an_answer_do_not_count(wrap: str) -> None:
    """What a server without constraint leaves there."""
    assert read_answer(wrap.replace("{}", answer_json("Possible effusion here.")), PROMPT, FILM)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Possible effusion.",
        answer_json("Possible effusion here.")[:60],
        answer_json("Possible effusion here.") + "{}",
        "[]",
        "null",
        "[" * 100_000,
        answer_json("possible effusion here."),
        answer_json("Possible effusion \u202e here."),
        answer_json("Possible" + " effusion" * 200 + "."),
        answer_json("Possible effusion <b>here</b>."),
        answer_json("Possible effusion here.", comparison="cured"),
        answer_json("Possible effusion here.", quotes=[0]),
        answer_json("Possible effusion here.", quotes=[True]),
        answer_json("Possible effusion here.", boxes=[{"box_2d": [0, 0, 1], "label": "mass"}]),
        answer_json("Possible effusion here.", boxes=[{"box_2d": [0, 0, 1, 1001], "label": "mass"}]),
        answer_json(
            "Possible effusion here.", statements=[{"finding": "cancer", "side": "left", "certainty": "possible"}]
        ),
        answer_json(
            "Possible effusion here.", statements=[{"finding": "mass", "side": "left", "certainty": "certain"}]
        ),
        answer_json("Possible effusion here.", statements=[{"finding": "mass"}]),
    ],
)
def test_what_is_not_of_the_schema_is_no_answer(text: str) -> None:
    """Half a JSON, two of them, other types, unbounded or foreign text: refused, without a word of what it held."""
    with pytest.raises(BadAnswer) as caught:
        read_answer(text, PROMPT, FILM)
    assert "effusion" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "columns", "box", "region"),
    [
        (1000, 1000, (0, 0, 1000, 1000), Region(x=0, y=0, width=1000, height=1000)),
        (2000, 1000, (0, 250, 500, 500), Region(x=0, y=0, width=500, height=1000)),
        (1000, 2000, (250, 0, 500, 500), Region(x=0, y=0, width=1000, height=500)),
        (1000, 2000, (0, 0, 1000, 1000), Region(x=0, y=0, width=2000, height=1000)),
        (1000, 2000, (0, 0, 200, 1000), None),
        (1000, 1000, (500, 500, 500, 700), None),
        (1000, 1000, (700, 500, 500, 700), None),
    ],
)
def test_a_box_comes_back_through_the_padding(
    rows: int, columns: int, box: tuple[int, int, int, int], region: Region | None
) -> None:
    """Onto the stored film, clipped to it; none for what is empty or lies in the padding alone."""
    assert show_film(_film(rows, columns)).region(box) == region


def test_a_mirrored_film_is_shown_as_films_hang_and_its_boxes_are_turned_back() -> None:
    """The model sees the patient's right at the left edge; what it draws there lies at the stored film's right."""
    film = _film(1000, 1000)
    shown = show_film(film, (QualityNote(code=MIRRORED_FILM, message="m."),))
    greys = np.asarray(shown.picture)[SIDE_PX // 2, :, 0]
    assert greys[0] > greys[-1], "the stored film grows brighter to the right"
    assert shown.region((0, 0, 1000, 250)) == Region(x=750, y=0, width=250, height=1000)


def test_an_inverted_film_is_shown_with_black_air() -> None:
    """As it was scored."""
    film = _film(500, 500)
    shown = show_film(film, (QualityNote(code="inverted_film", message="i."),))
    plain = np.asarray(show_film(film).picture).astype(int)
    assert np.abs(plain + np.asarray(shown.picture) - 255).max() <= 1


def _film(rows: int, columns: int) -> Radiograph:
    pixels = np.broadcast_to(np.linspace(0, 1, columns, dtype=np.float32), (rows, columns))
    image = ImageReference(
        study_instance_uid="1.2", series_instance_uid="1.3", sop_class_uid="1.4", sop_instance_uid="1.5", rows=rows,
        columns=columns,
    )  # fmt: skip
    return Radiograph(image=image, pixels=np.ascontiguousarray(pixels))
