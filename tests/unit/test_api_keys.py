"""Keys of machines in their file, and how often somebody may ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from firstread.cli import app
from gateway.access.keys import KEY, ApiKeys, make_key, read_keys, remove_key
from gateway.access.rates import Rate
from worklist.errors import InvalidInput
from worklist.roles import Role


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the keys are to be."""
    return tmp_path / "keys"


def test_a_key_is_known_and_not_kept(file: Path) -> None:
    """The file holds name, role and digest, is nobody else's to read, and tells the key to nobody."""
    key = make_key(file, "a viewer", Role.SERVICE)
    assert KEY.fullmatch(key)
    assert key not in file.read_text(encoding="utf-8")
    assert file.stat().st_mode & 0o777 == 0o600
    holder = ApiKeys(file).holder(key)
    assert holder is not None
    assert (holder.name, holder.role) == ("a viewer", Role.SERVICE)
    assert ApiKeys(file).holder(key[:-1]) is None
    assert make_key(file, "another", Role.QA) != key
    assert [one.name for one in read_keys(file)] == ["a viewer", "another"]


def test_a_name_has_one_key(file: Path) -> None:
    """A second one would leave it open which of them is removed."""
    make_key(file, "a viewer", Role.SERVICE)
    with pytest.raises(InvalidInput, match="a viewer has a key"):
        make_key(file, " a viewer ", Role.IT)
    with pytest.raises(InvalidInput, match="nobody has no key"):
        remove_key(file, "nobody")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '"a"',
        json.dumps({"name": "a", "role": "king", "sha256": "0" * 64, "made_at": ""}),
        json.dumps({"name": "a", "role": "it", "sha256": "0", "made_at": ""}),
        json.dumps({"name": "a", "role": "it"}),
        "\n".join(2 * [json.dumps({"name": "a", "role": "it", "sha256": "0" * 64, "made_at": ""})]),
    ],
)
def test_a_file_that_is_broken_is_refused_whole(file: Path, content: str) -> None:
    """No half of it is good, and the refusal names the file."""
    file.write_text(content, encoding="utf-8")
    with pytest.raises(InvalidInput, match=str(file)):
        ApiKeys(file)


def test_a_file_into_which_anybody_may_write_is_refused(file: Path) -> None:
    """Who writes into it lets himself in; one that is missing is refused too."""
    make_key(file, "a viewer", Role.SERVICE)
    file.chmod(0o666)
    with pytest.raises(InvalidInput, match="chmod 600"):
        ApiKeys(file)
    with pytest.raises(InvalidInput, match="firstread keys new"):
        ApiKeys(file.with_name("nothing"))


def test_the_command_makes_shows_and_removes(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key alone on stdout, whose keys there are, and none once it is removed."""
    monkeypatch.setenv("FIRSTREAD_API_KEYS_FILE", str(file))
    made = CliRunner().invoke(app, ["keys", "new", "a viewer", "--role", "service"])
    assert KEY.fullmatch(made.stdout.strip())
    listed = CliRunner().invoke(app, ["keys", "list", "--json"])
    assert [(one["name"], one["role"]) for one in json.loads(listed.stdout)] == [("a viewer", "service")]
    assert CliRunner().invoke(app, ["keys", "remove", "a viewer"]).exit_code == 0
    assert ApiKeys(file).holder(made.stdout.strip()) is None


def test_turns_come_back_with_time() -> None:
    """A minute's turns may be taken at once; then each comes back in its share of a minute, for each name apart."""
    now = [0.0]
    rate = Rate(60, clock=lambda: now[0])
    assert [rate.take("a") for _ in range(61)] == [True] * 60 + [False]
    assert rate.take("b")
    now[0] += 1.0
    assert [rate.take("a"), rate.take("a")] == [True, False]
    now[0] += 3600
    assert [rate.take("a") for _ in range(61)].count(True) == 60


def test_rates_remember_a_bounded_number_of_names() -> None:
    """Whoever writes ever new names takes no memory, and the busy one stays known."""
    rate = Rate(2, most_names=3, clock=lambda: 0.0)
    for number in range(1000):
        rate.take("busy")
        rate.take(str(number))
    assert not rate.has_turn("busy")
    assert rate.has_turn("0")
