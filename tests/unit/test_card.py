"""The card of the embedded model: that it speaks of the committed file, and that its generator measures."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score, roc_curve

from imaging.radiograph import Radiograph
from imaging.simulated.phantom import simulate_film
from models.embedded.scorer import WEIGHTS, EmbeddedScorer
from models.evaluation.films import FINDINGS, Box
from models.evaluation.measure import OUTPUTS
from models.training.card import main, write_card
from models.training.compare import compare
from models.training.failures import MAX_PICTURES, Simulated, drawn_at, save_real, worst
from models.training.judge import (
    Judged,
    judge,
    load_film,
    mean_of_findings,
    read_boxes,
    read_manifest,
    read_manifests,
    with_boxes,
)
from models.training.places import places
from models.training.robust import elsewhere, steadiness
from models.training.robust import main as measure_robustness
from models.training.scorer_card import write_scorer_card
from tests.grey_network import write_films, write_weights
from worklist.errors import InvalidInput
from worklist.finding import Algorithm, Analysis, Finding, FindingType, ImageReference, Region

ROOT = Path(__file__).parents[2]
CARDS = ROOT / "models" / "cards"
DATA = ROOT / ".." / "shared" / "data"
MANIFESTS = [DATA / "nih" / "manifest.csv"]  # of the committed card
TITLES = {**{kind.key: kind.label for kind in FINDINGS}, "urgent": "Urgent (any of the six)"}


def table(card: str, heading: str, number: int = 0) -> dict[str, list[str]]:
    """Cells by the first one, of a table below a heading."""
    section = re.split(r"^#+ ", card.split(f"# {heading}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    blocks = re.findall(r"(?:^\|.*\n)+", section, flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in blocks[number].splitlines()]
    return {first: others for first, *others in rows}


@pytest.fixture(scope="module")
def committed() -> str:
    """The card as it is committed."""
    return (CARDS / "embedded.md").read_text(encoding="utf-8")


def test_the_committed_card_is_of_the_committed_weights(committed: str) -> None:
    """Digests, areas at release and thresholds in the card are those of the sidecar, and the digests the files'."""
    sidecar = json.loads((WEIGHTS / "embedded.json").read_text(encoding="utf-8"))
    digest = hashlib.sha256((WEIGHTS / "embedded.onnx").read_bytes()).hexdigest()
    assert re.findall(r"\| SHA-256 \| `(\w+)` \|", committed) == [digest] == [sidecar["sha256"]]
    both = hashlib.sha256((WEIGHTS / "embedded.json").read_bytes()).hexdigest()
    assert f"| Digest | `{both}`: " in committed
    calibration = table(committed, "Calibration")
    sensitive, specific = table(committed, "Operating points"), table(committed, "Operating points", 1)
    for output in sidecar["outputs"]:
        title = TITLES[output["key"]]
        assert calibration[title][0] == f"{output['threshold']:.4f}"
        assert calibration[title][-1] == f"{output['auc']:.4f}"
        assert sensitive[title][0] == f"{output['threshold_sensitivity_95']:.4f}"
        assert specific[title][0] == f"{output['threshold_specificity_95']:.4f}"


def test_the_committed_card_shows_small_pictures_of_simulated_films_alone(committed: str) -> None:
    """Each picture has a caption that says simulated and is a PNG under 60 kB; of failures there are at most four."""
    links = re.findall(r"!\[[^\]]+\]\((pictures/[^)]+\.png)\)\n\nSimulated: ", committed)
    found = sorted((CARDS / "pictures").iterdir())
    assert sorted(CARDS / link for link in links) == found
    failures = [picture for picture in found if not picture.name.startswith("place-")]
    assert 0 < len(failures) <= MAX_PICTURES
    assert len(found) > len(failures)
    for picture in found:
        assert picture.stat().st_size < 60_000
        with Image.open(picture) as image:
            assert image.format == "PNG"


def test_the_committed_card_is_measured_again(committed: str) -> None:
    """Scored once more, the sharp validation films give the areas in the card to 0.001."""
    if not DATA.is_dir():
        pytest.skip("the films for development are not here")
    listed = [film for film in read_manifests(MANIFESTS, DATA) if film.split == "val"]
    films = judge(WEIGHTS, DATA, [film for film in listed if film.label.file.startswith("nih/nih_512/")])
    results = table(committed, "Results on validation films")
    areas = {
        key: roc_auc_score([film.listed.label.truth[key] for film in films], [film.probability(key) for film in films])
        for key in OUTPUTS
    }
    for key, area in areas.items():
        assert float(results[TITLES[key]][1].split()[0]) == pytest.approx(area, abs=0.001)
    mean = np.mean([areas[kind.key] for kind in FINDINGS])
    assert float(results["Mean of the six"][1].split()[0]) == pytest.approx(mean, abs=0.001)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The films of the grey network."""
    folder = tmp_path_factory.mktemp("films")
    write_films(folder)
    return folder


def arguments(films: Path, weights: Path, out: Path) -> dict[str, Any]:
    """What every card needs."""
    return {"films": films, "manifest": [films / "manifest.csv"], "weights": weights, "out": out}


def test_a_card_is_measured_on_its_films(tmp_path: Path, films: Path) -> None:
    """Areas, operating points and digest come from the weights and films that were named, real failures from these."""
    digest = write_weights(tmp_path / "weights")
    write_scorer_card(films=films, manifest=[films / "manifest.csv"], folder=tmp_path / "weights")
    files = arguments(films, tmp_path / "weights", tmp_path / "card")
    card = write_card(**files, boxes=films / "bbox.csv", failures=tmp_path / "real", seeds=()).read_text("utf-8")
    assert digest in card
    assert "No simulated chest was missed" in card
    truth, grey = [], []
    for number in (n for n in range(24) if n % 4 < 2):
        with Image.open(films / f"{number}.png") as film:
            grey.append(float(np.asarray(film).mean()))
        truth.append(number % 2)
    results = table(card, "Results on validation films")
    for title in TITLES.values():
        assert results[title][0] == "6"
        assert float(results[title][1].split()[0]) == pytest.approx(roc_auc_score(truth, grey), abs=0.001)
    called = np.array(grey) / 255 * 8 - 4 >= 0
    sensitivity, specificity = called[np.array(truth) == 1].mean(), (~called[np.array(truth) == 0]).mean()
    point = table(card, "Operating points")["Pneumothorax"]
    assert [float(cell.split()[0]) for cell in point[1:3]] == pytest.approx([sensitivity, specificity], abs=0.001)
    assert 0 < sensitivity < 1
    assert table(card, "Where it looks")["All"][0] == "2"
    assert float(table(card, "Steadiness")["16 bits in place of 8"][0]) < 1e-4
    captions = (tmp_path / "real" / "captions.md").read_text(encoding="utf-8")
    shown = re.findall(r"^(\d+)\.png: (miss|alarm) of \w+, probability ([\d.]+)", captions, re.MULTILINE)
    assert len(shown) == len(list((tmp_path / "real").glob("*.png"))) > 0
    for number, kind, probability in shown:
        assert (int(number) % 2 == 1) is (kind == "miss") is (float(probability) < 0.5)


def test_simulated_failures_become_pictures(tmp_path: Path, films: Path) -> None:
    """A network that misses every finding has its two worst misses drawn, and pictures of earlier runs are gone."""
    write_weights(tmp_path / "weights", threshold=0.999)
    pictures = tmp_path / "card" / "pictures"
    pictures.mkdir(parents=True)
    (pictures / "old.png").touch()
    write_scorer_card(films=films, manifest=[films / "manifest.csv"], folder=tmp_path / "weights")
    files = arguments(films, tmp_path / "weights", tmp_path / "card")
    card = write_card(**files, boxes=None, seeds=(1,)).read_text(encoding="utf-8")
    names = sorted(picture.name for picture in pictures.iterdir())
    assert len(names) == 2
    assert all(name.startswith("missed-") and f"](pictures/{name})" in card for name in names)
    assert "Where it looks" not in card


IMAGE = ImageReference(
    study_instance_uid="1.2",
    series_instance_uid="1.3",
    sop_class_uid="1.4",
    sop_instance_uid="1.5",
    rows=64,
    columns=64,
)


def case(seed: int, drawn: FindingType | None, decoy: str, probabilities: Sequence[float]) -> Simulated:
    """A simulated film and what some network said of pneumothorax, effusion and consolidation, all called from 0.5."""
    findings = zip(FINDINGS, probabilities, strict=False)
    analysis = Analysis(
        images=(IMAGE,),
        scorer=Algorithm(name="some", version="1", sha256="", device_uid="1.2"),
        findings=tuple(Finding(type=type_, probability=p, threshold=0.5) for type_, p in findings),
        score=0.5,
        threshold=0.5,
        completed_at=datetime(2026, 1, 1, tzinfo=UTC),
        elapsed_ms=1,
    )
    film = Radiograph(image=IMAGE, pixels=np.zeros((64, 64), np.float32))
    return Simulated(seed=seed, drawn=drawn, decoy=decoy, film=film, analysis=analysis)


def test_the_worst_failures_are_chosen() -> None:
    """Of each sort the failure furthest from its threshold, and of decoys only what the plain chest did not raise."""
    cases = [
        case(1, None, "", (0.1, 0.6, 0.1)),
        case(2, None, "", (0.1, 0.1, 0.7)),
        case(3, FindingType.PNEUMOTHORAX, "", (0.2, 0.9, 0.1)),
        case(4, FindingType.PNEUMOTHORAX, "", (0.3, 0.1, 0.1)),
        case(5, FindingType.PLEURAL_EFFUSION, "", (0.1, 0.4, 0.1)),
        case(6, FindingType.CONSOLIDATION, "", (0.1, 0.1, 0.01)),
        case(2, None, "a pacemaker", (0.1, 0.1, 0.9)),
        case(1, None, "a pacemaker", (0.55, 0.9, 0.1)),
    ]
    chosen = worst(cases)
    assert [failure.name for failure in chosen] == [
        "missed-consolidation-6.png",
        "missed-pneumothorax-3.png",
        "alarm-consolidation-2.png",
        "decoy-pneumothorax-1.png",
    ]
    assert "Pneumothorax has a probability of 0.200 with a threshold of 0.500: missed." in chosen[1].caption
    assert worst([case(1, FindingType.PNEUMOTHORAX, "", (0.6, 0.9, 0.9))]) == []


def test_a_box_on_a_simulated_chest_is_right_where_the_finding_was_drawn() -> None:
    """Of two boxes of one simulated consolidation, that over it is right, and that over the other lung is not."""
    rows, columns = 640, 560
    stored = simulate_film(2, finding=FindingType.CONSOLIDATION, rows=rows, columns=columns).astype(np.float32)
    film = Radiograph(image=IMAGE, pixels=np.clip((stored - 650) / 2800, 0, 1))  # the window of the card's films
    drawn = replace(case(2, FindingType.CONSOLIDATION, "", ()), film=film)
    left, top, right, bottom = drawn_at(drawn) or (0, 0, 0, 0)
    assert 0 < left < right < 0.5
    center = round((left + right) / 2 * columns), round((top + bottom) / 2 * rows)

    def boxed(x: int) -> Simulated:
        region = Region(x=x - 20, y=center[1] - 20, width=40, height=40)
        found = Finding(type=FindingType.LUNG_OPACITY, probability=0.9, threshold=0.5, region=region)
        image = replace(IMAGE, rows=rows, columns=columns)
        return replace(drawn, analysis=replace(drawn.analysis, images=(image,), findings=(found,)))

    cases = [boxed(center[0]), boxed(columns - center[0])]
    (place,) = (each for each in places(cases, EmbeddedScorer().card) if each.films)
    assert (place.drawn, place.named, place.boxed, place.right) == (FindingType.CONSOLIDATION, 2, 2, 1)
    assert place.shown is cases[0]


def test_readers_boxes_are_scaled_to_the_film(films: Path) -> None:
    """Boxes of the 1024 px original lie at the same place of its smaller copy, and other findings are left out."""
    drawn = read_boxes(films / "bbox.csv")["o0"]
    assert [box.target for box in drawn] == ["pleural_effusion"]
    listed = next(film for film in read_manifest(films / "manifest.csv") if film.original == "o0")
    film = Judged(listed=listed, analysis=case(1, None, "", (0.5,)).analysis)
    assert with_boxes(film, drawn).boxes == (Box(x=32, y=16, w=8, h=4, target="pleural_effusion"),)


def test_the_mean_of_findings_is_that_of_its_areas(tmp_path: Path, films: Path) -> None:
    """The mean AUC is that of scikit-learn, ties half, within an interval; one that only one patient has has none."""
    write_weights(tmp_path / "weights")
    judged = judge(tmp_path / "weights", films, read_manifest(films / "manifest.csv"))
    mean = mean_of_findings(judged)
    truth = [film.listed.label.truth["pneumonia"] for film in judged]
    assert mean.value == pytest.approx(roc_auc_score(truth, [film.probability("pneumonia") for film in judged]))
    assert mean.low is not None
    assert mean.high is not None
    assert mean.low < (mean.value or 0) < mean.high
    few = mean_of_findings(judged[:4])
    assert few.value is not None
    assert few.low is None
    assert mean_of_findings(judged[:1]).value is None


def test_two_networks_are_compared_on_films_outside_training(tmp_path: Path, films: Path) -> None:
    """A network beside itself shows its areas twice and no difference; sensitivity is that of scikit-learn's curve."""
    for name in ("old", "new"):
        write_weights(tmp_path / name)
    compared = compare(
        manifest=[films / "manifest.csv"], old=tmp_path / "old", new=tmp_path / "new", boxes=films / "bbox.csv"
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in compared.splitlines() if line]
    listed = [film for film in read_manifest(films / "manifest.csv") if film.split == "val"]
    sharp = [film for film in judge(tmp_path / "old", films, listed) if film.is_sharp]
    truth, scores = zip(*((f.listed.label.truth["urgent"], f.probability("urgent")) for f in sharp), strict=True)
    found = {name: cells for name, *cells in rows[: rows.index(["val, 128 px: 12 films", *rows[0][1:]])]}
    positives, old, new, difference = found["urgent, AUC"]
    assert positives == "6"
    assert old == new
    assert float(old.split()[0]) == pytest.approx(roc_auc_score(truth, scores), abs=0.001)
    assert difference == "0.000 (0.000 to 0.000)"
    false, true, _ = roc_curve(truth, scores, drop_intermediate=False)
    at_90 = found["urgent, sensitivity at 90 % specificity"][1]
    assert float(at_90.split()[0]) == pytest.approx(true[false <= 0.1].max(), abs=0.001)
    assert [cells[1] for cells in rows if cells[0] == "all"] == ["2"]


def test_boxes_of_both_challenges_are_read(films: Path, tmp_path: Path) -> None:
    """Boxes that readers drew around opacities are of these and of no disease, beside those of the archive."""
    rsna = tmp_path / "rsna.csv"
    rsna.write_text('image,boxes_xywh_1024\no0,"[[1, 2, 3, 4], [5, 6, 7, 8]]"\no9,[]\n', encoding="utf-8")
    drawn = read_boxes(films / "bbox.csv", rsna)
    assert [box.target for box in drawn["o0"]] == ["lung_opacity", "lung_opacity", "pleural_effusion"]
    assert "o9" not in drawn


def test_steadiness_is_measured(tmp_path: Path, films: Path) -> None:
    """To a network of the mean grey, bits and JPEG change next to nothing, brightness and gamma what they must."""
    write_weights(tmp_path / "weights")
    film = load_film(films, "0.png")
    found = {each.change: each for each in steadiness(tmp_path / "weights", [film])}
    grey = float(film.pixels.mean())

    def urgent(mean: float) -> float:
        return 1 / (1 + math.exp(4 - 8 * mean))

    assert found["3 % brighter"].mean == pytest.approx(abs(urgent(grey + 0.03) - urgent(grey)), abs=0.002)
    assert found["16 bits in place of 8"].mean < 1e-4
    assert found["JPEG 80"].mean < 0.01
    assert found["gamma 0.8"].mean > found["3 % brighter"].mean
    assert {each.flipped for each in found.values()} <= {0.0, 1.0}


def test_films_of_another_hospital_are_counted(tmp_path: Path, films: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Films that are no chests are refused, and a folder without films is named in one line."""
    write_weights(tmp_path / "weights")
    assert elsewhere(tmp_path / "weights", films).refused > 0.9
    (tmp_path / "none").mkdir()
    words = ["--weights", str(tmp_path / "weights"), "--manifest", str(films / "manifest.csv")]
    assert measure_robustness([*words, "--elsewhere", str(tmp_path / "none")]) == 2
    assert "holds no film" in caplog.messages[-1]


def test_real_films_stay_out_of_the_repository(tmp_path: Path) -> None:
    """A folder in the repository is refused for pictures of real films, and is not made."""
    with pytest.raises(InvalidInput, match="repository") as refused:
        save_real([], WEIGHTS, tmp_path, ROOT / "models" / "cards" / "real")
    assert refused.value.code == "films_in_repository"
    assert not (ROOT / "models" / "cards" / "real").exists()


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (("manifest.csv", "split", "part"), "no column split"),
        (("manifest.csv", "urgent6", "other"), ""),
        (("manifest.csv", "Edema", "other"), "does not say of 0.png: pulmonary_edema"),
        (("manifest.csv", "0.png", "gone.png"), "gone.png cannot be read"),
        (("manifest.csv", ",val,", ",test,"), "no film to judge"),
        (("bbox.csv", "512", "left"), "is no table of image"),
        (("bbox.csv", "\no", "\np"), "no box of the six findings"),
        (("weights/training-log.jsonl", '"sha256": "', '"sha256": "f'), "no release of the weights"),
        (("weights/training-log.jsonl", "{", "("), "is no log of a training run"),
        (("weights/embedded.json", '"sha256": "', '"sha256": "f'), "install Firstread again"),
    ],
)
def test_what_cannot_be_used_ends_in_one_line(
    tmp_path: Path, films: Path, caplog: pytest.LogCaptureFixture, spoil: tuple[str, str, str], says: str
) -> None:
    """A spoiled file ends the command with a line that names it and a code that is not 0; a film may lack urgency."""
    write_weights(tmp_path / "weights")
    for name in ("manifest.csv", "bbox.csv"):
        (tmp_path / name).write_text((films / name).read_text(encoding="utf-8"), encoding="utf-8")
    name, old, new = spoil
    text = (tmp_path / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(text.replace(old, new), encoding="utf-8")
    parts = {"films": films, "manifest": tmp_path / "manifest.csv", "boxes": tmp_path / "bbox.csv"}
    parts |= {"weights": tmp_path / "weights", "out": tmp_path / "card"}
    if not says:
        assert read_manifest(tmp_path / "manifest.csv")[1].label.truth["urgent"]
        return
    code = main([word for name, path in parts.items() for word in (f"--{name}", str(path))])
    assert code == (1 if "install" in says else 2)
    assert says in caplog.messages[-1]
    assert "\n" not in caplog.messages[-1]
