"""The card of a site's own model as text, and its rows for the screen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from models.evaluation.card_text import environment
from models.evaluation.films import FINDINGS, URGENT
from models.evaluation.intervals import Estimate
from models.evaluation.metrics import calibrate
from models.evaluation.paired import Row, mean_areas, paired
from models.fitting.enough import LEAST_JUDGING, LEAST_TEACHING
from models.fitting.films import write
from models.fitting.fit import SiteModel
from models.fitting.judging import Output

TEXT_FILE = "card.md"

_TITLES = {**{kind.key: kind.label for kind in FINDINGS}, URGENT: "Urgent"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """What is told of one output; figures are None where it stays as shipped.

    Attributes:
        title: its name.
        output: it.
        became: what became of it, in words.
        area: under the ROC curve, shipped and new.
        calibration: errors, shipped and new.
        share: of the films that judge, how many have it.
        threshold: its operating point.
    """

    title: str
    output: Output
    became: str
    area: Row | None = None
    calibration: tuple[Estimate, Estimate] | None = None
    share: float | None = None
    threshold: float | None = None


def tell(model: SiteModel) -> list[Told]:
    """What is told of each output."""
    thresholds = {output["key"]: output["threshold"] for output in model.sidecar["outputs"]}
    return [_told(output, thresholds[output.key]) for output in model.outputs]


def _told(output: Output, threshold: float) -> Told:
    title = _TITLES[output.key]
    if output.fitted is None or output.own is None or output.shipped is None:
        return Told(title=title, output=output, became="as shipped, too few patients")
    changed = output.fitted.strength is not None
    return Told(
        title=title,
        output=output,
        became="new weights" if changed else "the site's calibration",
        area=paired(output.key, [(output.shipped, output.own)], mean_areas),
        calibration=(calibrate(output.shipped).ece, calibrate(output.own).ece),
        share=float(output.own.truth.mean()),
        threshold=threshold,
    )


def verdict(told: list[Told]) -> str:
    """Whether the films that judge show the new model to be better, in one sentence."""
    clear = {"better": [], "worse": []}  # type: dict[str, list[str]]
    for row in told:
        if row.area and row.area.difference.low is not None and row.area.difference.high is not None:
            if row.area.difference.low > 0:
                clear["better"].append(row.title.lower())
            if row.area.difference.high < 0:
                clear["worse"].append(row.title.lower())
    said = [f"clearly {how} at {', '.join(titles)}" for how, titles in clear.items() if titles]
    if not said:
        return "It ranks no output clearly better or worse than the shipped model: what is new is the calibration."
    return f"It is {' and '.join(said)} than the shipped model."


def write_card(model: SiteModel, told: list[Told]) -> Path:
    """Write card.md beside the model.

    Raises:
        PermanentError: disk_full.
    """
    boxed = {output["key"] for output in model.sidecar["outputs"] if output.get("has_boxes", True)}
    text = (
        environment(Path(__file__).parent)
        .get_template("card.md.j2")
        .render(
            card=model.card,
            scorer_card=model.card,
            base=model.base,
            sidecar=model.sidecar,
            films=model.films,
            rows=told,
            verdict=verdict(told),
            least_teaching=LEAST_TEACHING,
            least_judging=LEAST_JUDGING,
            unboxed=[
                row.title
                for row in told
                if row.output.key not in boxed | {URGENT}
                and row.output.fitted
                and row.output.fitted.strength is not None
            ],
        )
    )
    file = model.folder / TEXT_FILE
    write(file, text.encode())
    return file
