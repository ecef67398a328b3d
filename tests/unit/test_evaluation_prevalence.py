"""The prevalence of each finding, at which predictive values are told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.evaluation.figures import evaluate_files
from models.evaluation.prevalence import read_prevalences
from worklist.errors import InvalidInput


def test_prevalences_are_read_by_finding() -> None:
    """A bare share is that of any urgent finding; others are named as in the JSON or in English, in any case."""
    texts = ["0.1", "Pneumothorax=0.02", "PLEURAL_EFFUSION = 0.1", "pulmonary edema=1e-3"]
    assert read_prevalences(texts) == {
        "urgent": 0.1,
        "pneumothorax": 0.02,
        "pleural_effusion": 0.1,
        "pulmonary_edema": 0.001,
    }
    assert read_prevalences(["urgent=0.3"]) == {"urgent": 0.3}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (["1"], "urgent is '1': write a number between 0 and 1"),
        (["nan"], "between 0 and 1"),
        (["pneumothorax=0"], "pneumothorax is '0'"),
        (["pneumothorax=many"], "'many'"),
        (["pneumothorax="], "pneumothorax is ''"),
        (["fracture=0.1"], "'fracture', which is not judged: name one of urgent, pneumothorax, pleural_effusion"),
        (["=0.1"], "not judged"),
        (["0.1", "urgent=0.2"], "urgent is said twice"),
    ],
)
def test_a_prevalence_that_is_none_gets_one_clear_line(texts: list[str], words: str) -> None:
    """A share out of bounds, an unknown finding and one that is said twice are refused with what to write."""
    with pytest.raises(InvalidInput) as caught:
        read_prevalences(texts)
    assert caught.value.code == "bad_prevalence"
    assert words in caught.value.message


def test_each_finding_has_its_own_prevalence(tmp_path: Path) -> None:
    """What is stated for one finding holds for that one; others have their share in the films."""
    films = [{"file": f"{n}.png", "pneumothorax": n / 20, "effusion": n / 20} for n in range(20)]
    films = [film | {"pneumothorax_threshold": 0.5, "pleural_effusion_threshold": 0.5} for film in films]
    labels = [{"file": f"{n}.png", "pneumothorax": n % 4 // 3, "effusion": n % 4 // 3} for n in range(20)]
    for name, rows in (("films.json", films), ("labels.json", labels)):
        (tmp_path / name).write_text(json.dumps(rows), encoding="utf-8")
    stated = {"pneumothorax": 0.02}
    result = evaluate_files(tmp_path / "films.json", tmp_path / "labels.json", prevalence=stated, plots=None)
    targets = result["targets"]
    chosen, own = targets["pneumothorax"], targets["pleural_effusion"]
    assert chosen["prevalence"] == {"value": 0.02, "stated": True}
    assert own["prevalence"] == {"value": 0.25, "stated": False}
    assert targets["cardiomegaly"]["prevalence"] == {"value": None, "stated": False}
    point = chosen["operating_point"]
    hits, alarms = point["sensitivity"]["value"] * 0.02, (1 - point["specificity"]["value"]) * 0.98
    assert point["ppv_at_prevalence"]["value"] == pytest.approx(hits / (hits + alarms))
    for name in ("ppv", "npv"):
        values = own["operating_point"]
        assert values[f"{name}_at_prevalence"]["value"] == pytest.approx(values[name]["value"])
