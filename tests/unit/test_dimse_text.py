"""Identifiers of the DICOM server as pydicom reads them, and what of an identifier is refused."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset

from gateway.dimse.admission import Admission
from gateway.dimse.question import LEVELS, read_identifier, read_question, read_unique_keys
from gateway.dimse.statuses import STATUSES, Refusal
from gateway.dimse.text import character_sets, decoded, encoded
from worklist.errors import InvalidInput

SETS: tuple[list[str], ...] = ([], ["ISO_IR 100"], ["ISO_IR 144"], ["ISO_IR 192"], ["GB18030"], ["", "ISO 2022 IR 87"])
WORDS = st.text("aZ 9.\u00fc\u00df\u0416\u738b\u5c0f\u6771", max_size=20).map(str.strip)


@pytest.mark.filterwarnings("ignore:Failed to encode", "ignore:Value")
@given(name=WORDS, description=WORDS, sets=st.sampled_from(SETS), is_implicit=st.booleans())
def test_whatever_is_told_is_read_as_it_is(name: str, description: str, sets: list[str], *, is_implicit: bool) -> None:
    """Text comes back the same from every character set, which is the one asked in or Unicode."""
    values = {0x00100010: ("PN", name), 0x00081030: ("LO", description), 0x0020000D: ("UI", "1.2.3")}
    found = read_dataset(BytesIO(encoded(values, sets, is_implicit=is_implicit)), is_implicit, True)  # noqa: FBT003
    assert str(found.PatientName) == name
    assert (found.StudyDescription or "") == description
    assert found.StudyInstanceUID == "1.2.3"
    stated = found.get("SpecificCharacterSet")
    assert stated in (None, *sets, "ISO_IR 192") or list(stated) == sets
    assert stated or (name + description).isascii()


@given(st.binary(max_size=60))
def test_any_bytes_are_text_or_refused(value: bytes) -> None:
    """Bytes in any stated character set become text, or a refusal that names the element."""
    for sets in SETS:
        refusal = None
        try:
            assert "\ufffd" not in decoded(value, sets, 0x00100010) or b"\xef\xbf\xbd" in value
        except Refusal as raised:
            refusal = raised
        assert refusal is None or refusal.offending == (0x00100010,)


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_identifier_or_refused(value: bytes, is_implicit: bool) -> None:  # noqa: FBT001
    """No bytes make reading an identifier fail in another way than by a refusal with a comment of 64 characters."""
    refusal = None
    try:
        identifier = read_identifier(BytesIO(value), LEVELS, is_implicit=is_implicit)
        read_question(identifier, is_relational=True)
        read_unique_keys(identifier)
    except Refusal as raised:
        refusal = raised
    assert refusal is None or (0 < len(refusal.comment) <= 64 and refusal.status in STATUSES)


@pytest.mark.parametrize("stated", [b"KLINGON", b"ISO_IR 100\\ISO_IR 192", b"\xff"])
def test_character_sets_that_there_are_not(stated: bytes) -> None:
    """What is no defined term, or cannot be combined, is refused."""
    with pytest.raises(Refusal):
        character_sets(stated)


@pytest.mark.parametrize("peer", ["*", "WS1@nowhere", "A_TITLE_TOO_LONG_", "@10.1.2.3", "B\\C", "WS@10.1.2.3/99"])
def test_peers_that_cannot_be_meant(peer: str) -> None:
    """A peer is a title, at an address or network; anybody from anywhere is not let in."""
    with pytest.raises(InvalidInput) as caught:
        Admission([peer])
    assert "FIRSTREAD_DIMSE_PEERS" in caught.value.message


@pytest.mark.parametrize(
    ("peers", "title", "address", "is_known"),
    [
        ([], "ANY", "127.0.0.1", True),
        ([], "ANY", "::1", True),
        ([], "ANY", "10.1.2.3", False),
        (["WS1@10.1.2.3"], "WS1", "10.1.2.3", True),
        (["WS1@10.1.2.3"], "WS1 ", "::ffff:10.1.2.3", True),
        (["WS1@10.1.2.3"], "WS1", "127.0.0.1", False),
        (["*@10.1.0.0/16", "WS2"], "WS1", "10.1.9.9", True),
        (["*@10.1.0.0/16", "WS2"], "WS2", "192.0.2.1", True),
        (["*@10.1.0.0/16", "WS2"], "WS1", "192.0.2.1", False),
    ],
)
def test_who_is_known(peers: list[str], title: str, address: str, *, is_known: bool) -> None:
    """Title and address must both be of one named peer; without peers this machine alone is known."""
    assert Admission(peers).is_known(title, address) is is_known
