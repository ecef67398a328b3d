"""Where the network fails, as pictures: of simulated chests for the card, of real films for whoever has them.

Real films never enter the repository, so the card shows the worst failures on the project's own simulated chests.
These say nothing of how often the network fails on real films, only what its failures look like.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import methodcaller
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from rich.console import Console
from rich.progress import track

from imaging.display import to_display
from imaging.radiograph import Radiograph, read_radiograph
from imaging.simulated.phantom import simulate_film
from imaging.wrapping import chest_dx, complete_file_meta
from models.embedded.scorer import EmbeddedScorer
from models.evaluation.films import FINDINGS
from models.evaluation.measure import OUTPUTS
from models.training.judge import Judged, load_film
from worklist.errors import InvalidInput
from worklist.finding import Analysis, Finding, FindingType
from worklist.uids import derived_uid

MAX_PICTURES = 4
SEEDS = range(8)  # patients in whom failures are looked for
_ROWS, _COLUMNS = 640, 560
_WINDOW = (2050, 2800)  # center and width, as of the demo's simulated films
_DECOYS = ("a skin fold", "a pacemaker")
CARD_PX = 230  # height of a picture in the card: some 50 kB
_REAL_PX = 512
_WORST = 3  # misses, and false alarms, of each output
_NEVER_ONE = 1e-6  # a probability of 0 or 1 has no log odds
_REPOSITORY = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """A simulated chest and what the network said of it.

    Attributes:
        seed: of the patient.
        drawn: the finding it was given; None for a healthy chest.
        decoy: what lies over it that is no finding; empty for nothing.
        film: what the network saw.
        analysis: what it said.
    """

    seed: int
    drawn: FindingType | None
    decoy: str
    film: Radiograph
    analysis: Analysis


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A finding that was missed, or named without being there.

    Attributes:
        case: the film.
        finding: what the network said of the finding.
        margin: log odds by which the probability misses the threshold, or passes it.
    """

    case: Simulated
    finding: Finding
    margin: float

    @property
    def is_miss(self) -> bool:
        """Whether the finding is on the film."""
        return self.case.drawn == self.finding.type

    @property
    def name(self) -> str:
        """The picture's file name."""
        kind = "missed" if self.is_miss else "decoy" if self.case.decoy else "alarm"
        return f"{kind}-{self.finding.type.key.replace('_', '-')}-{self.case.seed}.png"

    @property
    def caption(self) -> str:
        """What the picture shows, in a sentence or two."""
        name, case = self.finding.type.label.lower(), self.case
        shown = f"a chest with {case.drawn.label.lower()}" if case.drawn else "a healthy chest"
        verdict = "missed" if self.is_miss else "named without being there"
        return (
            f"Simulated: {shown}{f' and {case.decoy} over it' if case.decoy else ''} (patient {case.seed} of the "
            f"generator). {name.capitalize()} has a probability of {self.finding.probability:.3f} with a threshold of "
            f"{self.finding.threshold:.3f}: {verdict}. Score {case.analysis.score:.2f}, "
            f"{'urgent' if case.analysis.is_urgent else 'not urgent'}."
        )


def simulate(weights: Path, seeds: Iterable[int] = SEEDS) -> list[Simulated]:
    """Simulated patients, each healthy, with each finding, and healthy with each decoy, as the network sees them."""
    scorer = EmbeddedScorer(weights)
    cases = []
    for seed in track(list(seeds), "simulating", console=Console(stderr=True), transient=True):
        films = {drawn: _draw(seed, drawn) for drawn in (None, *FINDINGS)}
        looks = [(drawn, "", pixels) for drawn, pixels in films.items()]
        looks += [(None, decoy, _with_decoy(films[None], decoy, seed)) for decoy in _DECOYS]
        for drawn, decoy, pixels in looks:
            film = _film(pixels, f"{seed}/{drawn}/{decoy}")
            cases.append(Simulated(seed=seed, drawn=drawn, decoy=decoy, film=film, analysis=scorer.score(film)))
    return cases


def worst(cases: Sequence[Simulated]) -> list[Failure]:
    """The two findings that are missed worst, and the worst false alarms on a plain healthy chest and on a decoy.

    A decoy raises an alarm where the same patient's chest raises none without it. Where there are fewer failures there
    are fewer pictures.
    """
    failures = [
        Failure(case=case, finding=found, margin=abs(_log_odds(found.probability) - _log_odds(found.threshold)))
        for case in cases
        for found in case.analysis.findings
        if (found.is_positive if case.drawn is None else found.type == case.drawn and not found.is_positive)
    ]
    failures.sort(key=lambda failure: -failure.margin)
    plain = {(f.case.seed, f.finding.type) for f in failures if f.case.drawn is None and not f.case.decoy}
    misses: dict[FindingType, Failure] = {}
    alarms: dict[bool, Failure] = {}
    for failure in failures:
        if failure.is_miss:
            misses.setdefault(failure.finding.type, failure)
        elif not failure.case.decoy or (failure.case.seed, failure.finding.type) not in plain:
            alarms.setdefault(bool(failure.case.decoy), failure)
    return [*list(misses.values())[: MAX_PICTURES // 2], *alarms.values()]


def save_simulated(failures: Sequence[Failure], weights: Path, folder: Path) -> None:
    """Write the picture of each failure into `folder`, the film beside it with the evidence in red.

    Pictures of earlier runs are removed. A yellow frame shows where the missed finding, or the decoy, was drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    scorer = EmbeddedScorer(weights)
    for failure in failures:
        frame = drawn_at(failure.case) if failure.case.drawn or failure.case.decoy else None
        picture = panels(failure.case.film, failure.finding, scorer, frame, CARD_PX)
        picture.save(folder / failure.name, optimize=True)


def save_real(films: Sequence[Judged], weights: Path, source: Path, folder: Path) -> int:
    """Write the worst misses and false alarms of each output with their evidence, and captions.md; count the pictures.

    Args:
        films: validation films.
        weights: the network's folder.
        source: the folder of the films.
        folder: where to write, outside the repository.

    Raises:
        InvalidInput: films_in_repository.
    """
    if folder.resolve().is_relative_to(_REPOSITORY.resolve()):
        raise InvalidInput("films_in_repository", f"{folder} is in the repository, where no real film may lie")
    folder.mkdir(parents=True, exist_ok=True)
    scorer, captions = EmbeddedScorer(weights), []
    for output, film, kind in _worst_real(films):
        label = film.listed.label
        found = next((each for each in film.analysis.findings if each.type.key == output), film.analysis.findings[0])
        name = f"{output}-{kind}-{label.file.replace('/', '-').rpartition('.')[0]}.png"
        panels(load_film(source, label.file), found, scorer, None, _REAL_PX).save(folder / name)
        present = ", ".join(target for target, is_there in label.truth.items() if is_there) or "none"
        captions.append(
            f"![{name}]({name})\n\n{label.file}: {kind} of {output}, probability {film.probability(output):.3f}, "
            f"threshold {film.prediction.thresholds[output]:.3f}; labels: {present}; "
            f"evidence of {found.type.label.lower()} in red.\n"
        )
    (folder / "captions.md").write_text("\n".join(["# Worst misses and false alarms\n", *captions]), encoding="utf-8")
    return len(captions)


def _worst_real(films: Sequence[Judged]) -> Iterator[tuple[str, Judged, str]]:
    for output in OUTPUTS:
        ranked = sorted(films, key=methodcaller("probability", output))
        missed = [film for film in ranked if film.listed.label.truth[output] and not film.prediction.calls[output]]
        called = [film for film in ranked if not film.listed.label.truth[output] and film.prediction.calls[output]]
        yield from ((output, film, "miss") for film in missed[:_WORST])
        yield from ((output, film, "alarm") for film in called[: -_WORST - 1 : -1])


def _draw(seed: int, finding: FindingType | None) -> NDArray[np.uint16]:
    return simulate_film(seed, finding=finding, rows=_ROWS, columns=_COLUMNS)


def _film(pixels: NDArray[np.uint16], name: str) -> Radiograph:
    dataset = chest_dx(pixels, bits_stored=12)
    dataset.WindowCenter, dataset.WindowWidth = _WINDOW
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, derived_uid(name, keyword))
    complete_file_meta(dataset)
    return read_radiograph(dataset)


def _with_decoy(pixels: NDArray[np.uint16], decoy: str, seed: int) -> NDArray[np.uint16]:
    """The same film with something over it that a reader would not take for a finding."""
    generator = np.random.default_rng(seed)
    rows, columns = pixels.shape
    if decoy == "a skin fold":  # brightens toward an edge that ends at once, as a fold does and a pleura does not
        row, column = np.mgrid[:rows, :columns].astype(np.float32)
        side, slope = generator.choice((-1, 1)), generator.uniform(0.1, 0.3)
        edge = (0.5 + side * generator.uniform(0.22, 0.28)) * columns + side * slope * (row - 0.4 * rows)
        inward = side * (edge - column) / (0.13 * columns)
        reach = np.clip(np.minimum(row - 0.12 * rows, 0.7 * rows - row) / (0.1 * rows), 0, 1)
        added = 420 * np.where(inward > 0, np.clip(1 - inward, 0, 1), 0) * reach
    else:
        canvas = Image.new("L", (columns, rows))
        pen = ImageDraw.Draw(canvas)
        x, y = generator.uniform(0.74, 0.8) * columns, generator.uniform(0.2, 0.26) * rows
        can = (x, y, x + 0.13 * columns, y + 0.1 * rows)
        bends = np.array([(x, y + 0.05 * rows), (0.4 * columns, 0.05 * rows), (0.38 * columns, 0.6 * rows)])
        t = np.linspace(0, 1, 60)[:, None]
        curve = (1 - t) ** 3 * bends[0] + 3 * (1 - t) ** 2 * t * bends[1] + 3 * (1 - t) * t**2 * bends[2]
        lead = curve + t**3 * (0.58 * columns, 0.6 * rows)  # a Bezier curve to the right ventricle
        pen.line([tuple(point) for point in lead], fill=170, width=round(0.006 * columns) + 1)
        pen.rounded_rectangle(can, radius=0.04 * columns, fill=220)
        added = 9 * np.asarray(canvas.filter(ImageFilter.GaussianBlur(1)), np.float32)
    return np.clip(pixels + added, 0, 4095).astype(np.uint16)


def drawn_at(case: Simulated) -> tuple[float, float, float, float] | None:
    """The frame (left, top, right, bottom), in shares of the film, of what was added to the patient."""
    healthy = _film(_draw(case.seed, None), "healthy")
    change = Image.fromarray(np.abs(case.film.pixels - healthy.pixels)).reduce(8)
    changed = np.asarray(change) > np.asarray(change).max() / 3
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    height, width = changed.shape
    return columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height


def panels(
    film: Radiograph,
    finding: Finding,
    scorer: EmbeddedScorer,
    frame: tuple[float, float, float, float] | None,
    height_px: int,
) -> Image.Image:
    """The film, and the film with the finding's evidence in red, its box in white and `frame` in yellow."""
    rows, columns = film.pixels.shape
    size = (round(columns * height_px / rows), height_px)
    plain = Image.fromarray(to_display(film)).resize(size, Image.Resampling.BOX).convert("RGB")
    evidence, geometry = scorer.evidence(film)
    heat = evidence[finding.type.key]
    whole = Image.fromarray(heat).resize((geometry.size_px, geometry.size_px), Image.Resampling.BILINEAR)
    left, top, right, bottom = geometry.to_model(0, 0, columns, rows)
    shown = np.asarray(whole.resize(size, box=(left, top, right, bottom)))
    # From the median up, as the boxes are outlined; a map without a peak of 1 stays dark, for it points nowhere.
    over = np.clip((shown - np.median(shown)) / max(float(np.ptp(shown)), 1.0), 0, 1)
    mask = Image.fromarray((170 * over).astype(np.uint8))
    marked = Image.composite(Image.new("RGB", size, "red"), plain, mask)
    pen = ImageDraw.Draw(marked)
    if frame:
        pen.rectangle([share * size[index % 2] for index, share in enumerate(frame)], outline="yellow")
    if box := finding.region:
        scale = height_px / rows
        pen.rectangle([scale * edge for edge in (box.x, box.y, box.x + box.width, box.y + box.height)], outline="white")
    picture = Image.new("RGB", (2 * size[0] + 4, height_px))
    picture.paste(plain, (0, 0))
    picture.paste(marked, (size[0] + 4, 0))
    return picture


def _log_odds(probability: float) -> float:
    likely = min(max(probability, _NEVER_ONE), 1 - _NEVER_ONE)
    return math.log(likely / (1 - likely))
