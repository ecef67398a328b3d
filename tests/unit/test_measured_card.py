"""The card beside a scorer's weights: what is measured, what is chosen, and that the committed one agrees with both."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.card import load_card
from models.embedded.scorer import WEIGHTS
from models.evaluation.films import FINDINGS, Box, Label
from models.evaluation.measured_card import CHOICES, read_choices
from models.training.judge import Judged, Listed
from models.training.opacity import measure_opacities
from models.training.scorer_card import card_of, main
from tests.grey_network import write_films, write_weights
from tests.unit.test_card import DATA, MANIFESTS, table
from worklist.card import card_of_json
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference, Region

ROOT = Path(__file__).parents[2]


def test_the_committed_card_is_of_the_committed_weights() -> None:
    """Name, version, digest and outputs in the card are those of the sidecar; nothing is named from below one half."""
    sidecar = json.loads((WEIGHTS / "embedded.json").read_text(encoding="utf-8"))
    card = load_card(WEIGHTS, sha256=hashlib.sha256((WEIGHTS / "embedded.json").read_bytes()).hexdigest())
    assert (card.name, card.version) == (sidecar["name"], sidecar["version"])
    *outputs, urgent = sidecar["outputs"]
    outputs += sidecar["sharp"]["outputs"]
    assert urgent["key"] == "urgent"
    assert [found.type.key for found in card.findings] == [output["key"] for output in outputs]
    assert all(found.type == FindingType.of(found.type.key) for found in card.findings)
    for found, output in zip(card.findings, outputs, strict=True):
        assert found.is_shown is (output["n_positive"] >= 5 and output["auc_ci95"][0] > 0.5)
        assert (found.named_from is None) == (found.precision is None)
        assert found.precision is None or (found.precision.n >= 5 and found.precision.value >= 0.5)


def test_the_committed_card_holds_the_choices_that_are_written_down() -> None:
    """Weights, the harm from which a study is flagged, and what is not looked for are those of card_choices.toml."""
    card = card_of_json(json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8")))
    choices = read_choices()
    assert all(found.weight == choices.weights[found.type.key] for found in card.findings)
    assert (card.flag_from, card.not_looked_for) == (choices.flag_from, choices.not_looked_for)
    assert {found.type.key for found in card.findings if found.critical_from is not None} <= set(choices.emergencies)
    assert len(card.reference_harms) == 101


def test_the_model_card_says_what_the_scorers_card_says() -> None:
    """Each row of embedded.md about the triage rule has the weight, the threshold and the precision of card.json."""
    card = card_of_json(json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8")))
    text = (ROOT / "models" / "cards" / "embedded.md").read_text(encoding="utf-8")
    rows = table(text, "What the triage rule takes from it")
    for found in card.findings:
        weight, shown, named_from, right, critical_from = rows[found.type.label]
        assert (float(weight), shown) == (found.weight, "yes" if found.is_shown else "no")
        assert named_from == ("never" if found.named_from is None else f"{found.named_from:g}")
        assert right.split()[0] == (f"{found.precision.value:.3f}" if found.precision else "-")
        assert (critical_from == "never") is (found.critical_from is None)
    assert f"flagged from a harm of {card.flag_from:g} on" in text
    assert card.reference in text


def test_the_committed_card_is_measured_again(tmp_path: Path) -> None:
    """Measured once more on the films for development, the card comes out as it is committed, to the last digit."""
    if not DATA.is_dir():
        pytest.skip("the films for development are not here")
    for name in ("embedded.onnx", "embedded.json"):
        (tmp_path / name).write_bytes((WEIGHTS / name).read_bytes())
    manifests = [str(manifest) for manifest in MANIFESTS]
    read = ["--rsna", str(DATA / "nih" / "rsna.csv")]
    assert main(["--films", str(DATA), "--manifest", *manifests, *read, "--folder", str(tmp_path)]) == 0
    assert json.loads((tmp_path / "card.json").read_text("utf-8")) == json.loads(
        (WEIGHTS / "card.json").read_text("utf-8")
    )


IMAGE = ImageReference(
    study_instance_uid="1.2",
    series_instance_uid="1.3",
    sop_class_uid="1.4",
    sop_instance_uid="1.5",
    rows=512,
    columns=480,
)


def judged(number: int, truths: dict[str, bool], probabilities: dict[str, float]) -> Judged:
    """A film of a patient of its own, of which the findings that are not named are absent and improbable."""
    kinds = (*FINDINGS, FindingType.LUNG_OPACITY)
    findings = (Finding(type=kind, probability=probabilities.get(kind.key, 0.01), threshold=0.5) for kind in kinds)
    truth = {kind.key: truths.get(kind.key, False) for kind in kinds} | {"urgent": any(truths.values())}
    label = Label(file=f"{number}", truth=truth, patient=f"{number}", groups={}, boxes=(), foreign_boxes=0)
    analysis = Analysis(
        images=(IMAGE,),
        scorer=Algorithm(name="some", version="1", sha256="ab", device_uid="1.2"),
        findings=tuple(findings),
        score=0.5,
        threshold=0.5,
        completed_at=datetime(2026, 1, 1, tzinfo=UTC),
        elapsed_ms=1,
    )
    return Judged(listed=Listed(label=label, split="val", original="", file=label.file), analysis=analysis)


def films_with(key: str, right: int, wrong: int) -> list[Judged]:
    """Films of which some reach a probability with the finding, some without it, and forty do not reach it."""
    reached = [judged(n, {key: n < right}, {key: 0.618 - n / 1000}) for n in range(right + wrong)]
    return [*reached, *(judged(100 + n, {key: n >= 34}, {key: 0.1 + n / 1000}) for n in range(40))]


@pytest.mark.parametrize(
    ("right", "wrong", "precision"),
    [(14, 5, (0.737, 19)), (3, 3, (0.5, 6)), (4, 5, None), (4, 0, None)],
    ids=["known", "just half", "below half", "too few films"],
)
def test_a_finding_is_named_only_where_it_is_right_often_enough(
    right: int, wrong: int, precision: tuple[float, int] | None
) -> None:
    """It takes five films at a probability of one half, half of them right, for a finding to be put into words."""
    card = card_of(films_with("pleural_effusion", right, wrong), read_choices())
    found = card.of(FindingType.PLEURAL_EFFUSION)
    assert found
    assert found.is_shown
    assert (found.precision and (found.precision.value, found.precision.n)) == precision
    assert found.named_from == (0.5 if precision else None)


def test_an_output_that_is_no_better_than_chance_is_not_shown() -> None:
    """A finding that none of the films has, and one whose probabilities say nothing, are neither shown nor named."""
    films = [
        judged(
            n,
            {"pleural_effusion": n < 10, "consolidation": n % 3 == 0},
            {"pleural_effusion": 0.6 if n < 10 else 0.1, "consolidation": 0.5 + n % 7 / 20},
        )
        for n in range(60)
    ]
    card = card_of(films, read_choices())
    assert {kind.key for kind in card.looked_for} == {"pleural_effusion"}
    consolidation = card.of(FindingType.CONSOLIDATION)
    assert consolidation
    assert (consolidation.named_from, consolidation.precision) == (None, None)


def test_an_emergency_is_critical_from_the_lowest_threshold_that_is_right_half_the_time() -> None:
    """Eight of ten likely films have a pneumothorax, and of the next seven none: with six of these, half would."""
    films = [judged(n, {"pneumothorax": n < 8}, {"pneumothorax": 0.6 - n / 1000}) for n in range(10)]
    films += [judged(100 + n, {}, {"pneumothorax": 0.4 - n / 1000}) for n in range(40)]
    found = card_of(films, read_choices()).of(FindingType.PNEUMOTHORAX)
    assert found
    assert found.critical_precision
    assert (found.critical_precision.value, found.critical_precision.n) == (0.5, 16)
    assert found.critical_from == pytest.approx(0.4 - 0.0055)
    effusion = card_of(films_with("pleural_effusion", 14, 5), read_choices()).of(FindingType.PLEURAL_EFFUSION)
    assert effusion
    assert effusion.critical_from is None


def test_an_opacity_is_measured_on_films_that_radiologists_read() -> None:
    """Its precision is of these films alone; it is named and, without a weight, changes no harm of the reference."""
    films = films_with("pleural_effusion", 14, 5)
    read = films_with("lung_opacity", 15, 14)
    card = card_of(films, read_choices(), read)
    found = card.of(FindingType.LUNG_OPACITY)
    assert found
    assert found.precision
    assert (found.weight, found.named_from) == (0.0, 0.5)
    assert (found.precision.value, found.precision.n) == (0.517, 29)
    assert card.reference_harms == card_of(films, read_choices()).reference_harms


def test_opacities_are_counted_by_copy_and_pointed_at_by_box() -> None:
    """The sharper copy of a film counts, what radiologists did not read is counted apart, and a box points or not."""
    key = FindingType.LUNG_OPACITY.key
    named = [original(judged(n, {}, {key: 0.7}), str(n), Region(x=0, y=0, width=48, height=51)) for n in range(4)]
    blurred = original(judged(9, {}, {key: 0.1}), "0", None, side_px=128)
    rest = [original(judged(20 + n, {}, {key: 0.1}), f"r{n}") for n in range(6)]
    unread = [original(judged(40, {}, {key: 0.9}), "unread"), original(judged(41, {}, {key: 0.2}), "unread too")]
    read = {"0": True, "1": True, "2": False, "3": True} | {f"r{n}": n == 0 for n in range(6)}
    drawn = {
        "0": (Box(x=0, y=0, w=100, h=100, target=key),),  # in the 1024 px of the originals
        "1": (Box(x=900, y=0, w=100, h=100, target=key), Box(x=40, y=40, w=20, h=20, target=key)),
        "3": (Box(x=900, y=900, w=100, h=100, target=key),),
    }
    found = measure_opacities([blurred, *named, *rest, *unread], read, drawn)
    assert found
    assert (found.films, found.positives) == (10, 4)
    assert {level: (share.right, share.n) for level, share in found.precision.items()} == {
        0.5: (3, 4),
        0.6: (3, 4),
        0.8: (0, 0),
    }
    assert (found.pointed.right, found.pointed.n) == (2, 3)
    assert (found.unread.right, found.unread.n) == (1, 2)
    assert measure_opacities(unread, read, drawn) is None


def original(film: Judged, name: str, region: Region | None = None, side_px: int = 512) -> Judged:
    """A film as a copy of an original, of so many pixels, with a box of its opacity."""
    findings = tuple(
        replace(found, region=region) if found.type == FindingType.LUNG_OPACITY else found
        for found in film.analysis.findings
    )
    image = replace(IMAGE, rows=side_px, columns=side_px * 15 // 16)
    analysis = replace(film.analysis, findings=findings, images=(image,))
    return replace(film, listed=replace(film.listed, original=name), analysis=analysis)


def test_the_reference_is_what_the_rule_makes_of_the_films() -> None:
    """The quantiles of the harm run from that of the least harmful film to that of the most; the text counts them."""
    card = card_of(films_with("pleural_effusion", 14, 5), read_choices())
    assert card.reference == "59 validation films of ChestX-ray14 at 512 px"
    assert card.reference_harms[0] == pytest.approx(0.8 * 0.1, abs=1e-4)
    assert card.reference_harms[-1] == pytest.approx(0.8 * 0.618, abs=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pneumonia = 0.5", "", "weights and emergencies are about"),
        ('["pneumothorax"]', '["sepsis"]', "weights and emergencies are about"),
        ("flag_from", "flag_at", "does not say what a card needs"),
        ("[weights]", "[weights", "does not say what a card needs"),
    ],
)
def test_choices_that_are_none_end_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, old: str, new: str, says: str
) -> None:
    """A file of choices that lacks or misnames something ends the command with one line and code 2."""
    text = CHOICES.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "choices.toml").write_text(text.replace(old, new, 1), encoding="utf-8")
    write_films(tmp_path)
    parts = {"films": tmp_path, "manifest": tmp_path / "manifest.csv", "choices": tmp_path / "choices.toml"}
    code = main([word for name, path in (parts | {"folder": WEIGHTS}).items() for word in (f"--{name}", str(path))])
    assert code == 2
    assert says in caplog.messages[-1]
    assert "\n" not in caplog.messages[-1]


def test_films_that_show_nothing_give_no_card(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no output is better than chance the command says so in one line, and writes no card."""
    write_weights(tmp_path / "weights")
    write_films(tmp_path)
    manifest = tmp_path / "manifest.csv"
    rows = [line.split(",") for line in manifest.read_text(encoding="utf-8").splitlines()]
    shuffled = [rows[0], *([*row[:7], *[str(number // 2 % 2)] * 7] for number, row in enumerate(rows[1:]))]
    manifest.write_text("\n".join(",".join(row) for row in shuffled) + "\n", encoding="utf-8")
    parts = {"films": tmp_path, "manifest": manifest, "folder": tmp_path / "weights"}
    assert main([word for name, path in parts.items() for word in (f"--{name}", str(path))]) == 2
    assert "has no weights" in caplog.messages[-1]
    assert not (tmp_path / "weights" / "card.json").exists()


def test_a_card_that_is_measured_can_be_loaded(tmp_path: Path) -> None:
    """What the command writes beside other weights is a card of these weights, and says which films it is from."""
    digest = write_weights(tmp_path / "weights")
    write_films(tmp_path)
    parts = {"films": tmp_path, "manifest": tmp_path / "manifest.csv", "folder": tmp_path / "weights"}
    assert main([word for name, path in parts.items() for word in (f"--{name}", str(path))]) == 0
    card = load_card(tmp_path / "weights", sha256=digest)
    assert (card.name, card.version) == ("grey", "9")
    assert card.reference == "12 validation films of ChestX-ray14 at 300 px"
