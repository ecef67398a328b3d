"""Spacings that no image can have leave the metadata, and nothing else does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dicomweb.spacing import without_unusable_spacing

_USABLE = {"vr": "DS", "Value": [0.143, 0.143]}
_UNUSABLE = (
    {"vr": "DS", "Value": [0, 0]},
    {"vr": "DS", "Value": [0.2, 0]},
    {"vr": "DS", "Value": [-1, -1]},
    {"vr": "DS", "Value": [None, None]},
    {"vr": "DS", "Value": ["0", "0"]},
    {"vr": "DS", "Value": ["x", "y"]},
    {"vr": "DS", "Value": [0.143]},
    {"vr": "DS", "Value": [0.1, 0.1, 0.1]},
    {"vr": "DS", "Value": []},
    {"vr": "DS"},
)
_SPACINGS = ("00280030", "00181164")


def mended(text: bytes, pieces_of: int) -> bytes:
    """What is handed on, where it comes in pieces of so many bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), pieces_of):
            yield text[start : start + pieces_of]

    async def joined() -> bytes:
        return b"".join([piece async for piece in without_unusable_spacing(pieces())])

    return asyncio.run(joined())


@pytest.mark.parametrize("unusable", _UNUSABLE)
@pytest.mark.parametrize("indent", [None, "\t"])
def test_an_unusable_spacing_is_left_out_wherever_it_stands(unusable: dict[str, Any], indent: str | None) -> None:
    """First, last, alone, in a sequence and beside another one; the rest stays valid and the same."""
    rows, item = {"vr": "US", "Value": [512]}, {"vr": "SQ", "Value": [{"00280030": unusable}]}
    for spacings in ({"00280030": unusable}, dict.fromkeys(_SPACINGS, unusable)):
        for dataset in (
            spacings,
            {**spacings, "00280010": rows},
            {"00280010": rows, **spacings},
            {"00280010": rows, **spacings, "00280011": rows},
            {"00280010": rows, "00289110": item, **spacings},
        ):
            kept = {tag: value for tag, value in dataset.items() if tag not in _SPACINGS}
            if "00289110" in kept:
                kept["00289110"] = {"vr": "SQ", "Value": [{}]}
            text = json.dumps([dataset, dataset], indent=indent).encode()
            assert json.loads(mended(text, 7)) == [kept, kept]


def test_a_usable_spacing_and_the_text_of_others_stay_to_the_byte() -> None:
    """What only looks like a spacing, in a value or a longer attribute, is none."""
    text = json.dumps(
        [
            {
                "00280030": _USABLE,
                "00181164": {"vr": "DS", "Value": ["0.143", "0.143"]},
                "00104000": {"vr": "LT", "Value": ['"00280030": {"vr": "DS", "Value": [0, 0]}, é, 00280030']},
                "00280034": {"vr": "IS", "Value": [0, 0]},
            }
        ],
        ensure_ascii=False,
        indent="\t",
    ).encode()
    for size in (1, 100, len(text)):
        assert mended(text, size) == text


_spacings = st.sampled_from([_USABLE, *_UNUSABLE])
_others = st.sampled_from([{"vr": "US"}, {"vr": "LT", "Value": ["x" * 3000]}])
_attributes = st.fixed_dictionaries(
    {},
    optional={tag: _spacings if tag in _SPACINGS else _others for tag in ("00080018", "00280010", *_SPACINGS)},
).flatmap(lambda dataset: st.permutations(list(dataset.items())).map(dict))


@given(
    st.lists(_attributes, max_size=12),
    st.sampled_from([1, 17, 1000, 5000, 100_000]),
    st.sampled_from([None, 1, "\t"]),
)
def test_pieces_of_any_size_give_the_same(
    datasets: list[dict[str, Any]], pieces_of: int, indent: int | str | None
) -> None:
    """Wherever one piece ends and the next begins, exactly the unusable spacings are gone."""
    text = json.dumps(datasets, indent=indent).encode()
    wanted = [
        {tag: value for tag, value in dataset.items() if tag not in _SPACINGS or value == _USABLE}
        for dataset in datasets
    ]
    assert json.loads(mended(text, pieces_of)) == wanted


def test_little_is_held_of_much() -> None:
    """Of metadata in pieces all but the last few kB has been handed on before the next piece is asked for."""
    piece = json.dumps({"00104000": {"vr": "LT", "Value": ["x" * 50_000]}}).encode()
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(50):
            sent += len(piece)
            yield piece

    async def most_behind() -> int:
        received = most = 0
        async for passed in without_unusable_spacing(pieces()):
            received += len(passed)
            most = max(most, sent - received)
        return most

    assert asyncio.run(most_behind()) <= 8192
