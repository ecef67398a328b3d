"""The gates before any score: is this a frontal chest film, which way up does it lie, and is there anything to see?

A tiny network judges a thumbnail of 24 x 24 greys, replaced by their ranks, so that neither window nor gamma matters
and an inverted film is the negative of itself. It looks at the film in eight ways (four quarter turns, each as it is
and inverted), asks of each whether it makes an upright frontal or an upright lateral chest film, and a softmax over
these sixteen and "neither" gives probabilities. A film is

- scored as it is where it is likely enough to be an upright frontal film, with a note where that is in doubt;
- put right and then scored where another of the eight ways is certain, with a note, its boxes mapped back;
- refused otherwise, since a score would mean nothing: as out of scope where it is no frontal chest film.

A wrong refusal is worse than a miss: a refused film stays in order of arrival, however sick the patient. What the
gates catch and what they refuse wrongly was measured: see models/cards/gates.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.radiograph import Radiograph
from models import Scorer
from models.gates.child import CHILD_WEIGHTS, ChildGate
from models.gates.layers import TwoLayers
from models.steps import Steps, image_in_words
from worklist.card import ScorerCard
from worklist.errors import FirstreadError, ModelUnavailable, OutOfScope, UnusableImage
from worklist.finding import (
    CONTRADICTORY_HEADER,
    ONE_OF_SEVERAL_FRAMES,
    TURNED_FILM,
    Algorithm,
    Analysis,
    Finding,
    QualityNote,
    Region,
)
from worklist.scope import CHILD_FILM, LATERAL_FILM, NOT_CHEST_FILM, SEEN_OUT_OF_SCOPE
from worklist.step import StepName
from worklist.words import joined

WEIGHTS = Path(__file__).parent / "weights" / "gates.json"
SIDE_PX = 24
WAYS = 8  # to put a film right: 0 to 3 quarter turns counterclockwise, then the same after inverting it
ANSWERS = 3  # of the network for each way: frontal, lateral, and lung fields cut off

_SAMPLED_PX = 128  # of a side: enough for the thumbnail and for the borders
_FLAT = 0.05  # of the film's range of greys: a row or column that varies by less is a border
_LEAST_LINES = 8  # of the sample, between the borders
# Limits beyond the extremes of 11,311 films of ChestX-ray14: range 0.10, grey share 0.35, exposed share 0.44.
_LEAST_RANGE = 0.03  # between the 5th and 95th percentile
_LEAST_GREY = 0.2  # share of the exposed part that is neither black nor white
_LEAST_EXPOSED = 0.1  # share of the film inside its borders
_SMALL_FIELD = 0.4
_WHOLE_FIELD = 0.75  # share of the film from which on it is scored with its border, as the films of the card were
_PAIR = 1.4  # of the longer side of what may be two films over its shorter one
# Likelihood from which on it is one: pairs of real films reached 0.975, single ones stretched to 3:2 began at 0.999.
_ONE_FILM = 0.98
_TURN = 30  # degrees; see Gates._is_tilted
_STILL_FRONTAL, _FRONTAL_NO_MORE = 0.95, 0.02
_BLACK, _WHITE = 0.02, 0.98

_REFUSALS = {
    "blank_image": "The film shows next to nothing: nearly all of it has one grey.",
    "burned_out_film": "The film is burned out: nearly all of it is plain white.",
    "underexposed_film": "The film is underexposed or wrongly windowed: nearly all of it is plain black.",
    "collimated_film": "The exposed part of the film is too small to be judged.",
    NOT_CHEST_FILM: "The film does not look like a frontal chest film: only these are scored.",
    LATERAL_FILM: "The film looks like a lateral chest film: only frontal ones are scored.",
    CHILD_FILM: "The film looks like a child's, and no age says otherwise: only films of adults are scored.",
    "several_films": "The image shows two films beside each other: send each of them as an image of its own.",
    "unclear_orientation": "The film looks turned or inverted, but too unclearly to be put right: send it upright.",
}
_NOTES = {
    TURNED_FILM: "The film lies on its side or head; it was scored upright, so no sides are given.",
    "inverted_film": "The film is inverted (air is white) and was scored with black air.",
    "unusual_film": "The film looks unlike most upright frontal chest films, so the score is less certain.",
    "cut_off_film": "Part of the lung fields may lie outside the film.",
    "small_field": "Most of the film is unexposed border, so little of its detail shows the chest.",
    "border": "A wide border lies around the exposed part of the film; the exposed part alone was scored.",
    "tilted_film": "The film looks tilted by some 10 to 45 degrees; it was scored as it lies, so trust its score less.",
}

# A gate that breaks must not hold a sick patient's film back: it is scored, and says what nobody looked at.
_UNCHECKED = QualityNote(
    code="scope_not_checked",
    message="It could not be checked whether the film is an upright frontal chest film: see the worker's log.",
)
_TOLD_OF_A_REFUSAL = {CONTRADICTORY_HEADER, ONE_OF_SEVERAL_FRAMES}

Greys = npt.NDArray[np.float32]
_Made = TypeVar("_Made")


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What the network says of a film.

    Attributes:
        frontal: probability, for each of the eight ways, that it makes an upright frontal chest film.
        lateral: probability that the film is a lateral one, however it lies.
        neither: probability that it is anything else; all ten sum to 1.
        cut_off: probability that the lung fields reach beyond the film, should it be a frontal one.
    """

    frontal: tuple[float, ...]
    lateral: float
    neither: float
    cut_off: float

    @property
    def way(self) -> int:
        """The likeliest way to put the film right; 0 leaves it as it is."""
        return max(range(WAYS), key=self.frontal.__getitem__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Checked:
    """An image that may be scored, and the way back.

    Attributes:
        radiograph: the image put right; its rows and columns are those of its pixels.
        stored: the image as it came.
        quarter_turns: counterclockwise, from the exposed part with square pixels to the upright one.
        exposed: what was cut out of the stored image, in its pixels; None for all of it.
    """

    radiograph: Radiograph
    stored: Radiograph
    quarter_turns: int = 0
    exposed: Region | None = None

    def restore(self, analysis: Analysis) -> Analysis:
        """An Analysis of the upright image as one of the stored image, its boxes in stored pixels."""
        findings = tuple(replace(finding, region=self._restore(finding)) for finding in analysis.findings)
        return replace(analysis, images=(self.stored.image,), findings=findings)

    def _restore(self, finding: Finding) -> Region | None:
        box, (rows, columns) = finding.region, self.radiograph.pixels.shape
        if box is None:
            return None
        for _ in range(self.quarter_turns):
            box = Region(x=rows - box.y - box.height, y=box.x, width=box.height, height=box.width)
            rows, columns = columns, rows
        whole = Region(x=0, y=0, width=self.stored.image.columns, height=self.stored.image.rows)
        part = self.exposed or whole
        across, down = part.width / columns, part.height / rows  # 1 where the pixels were square
        x, y = math.floor(box.x * across), math.floor(box.y * down)
        right = min(math.ceil((box.x + box.width) * across), part.width)
        bottom = min(math.ceil((box.y + box.height) * down), part.height)
        return Region(x=part.x + x, y=part.y + y, width=right - x, height=bottom - y)


class Gates:
    """The gates, with the networks of two files.

    Attributes:
        sha256: one digest of all weights: with others another film may be refused.

    Raises:
        ModelUnavailable: model_missing or model_invalid.
    """

    def __init__(self, file: Path = WEIGHTS, child: Path = CHILD_WEIGHTS) -> None:
        self._network, self._thresholds = _loaded(file, _upright_network)
        self._child = _loaded(child, ChildGate)
        self.sha256 = hashlib.sha256(file.read_bytes() + child.read_bytes()).hexdigest()

    def check(self, radiograph: Radiograph) -> Checked:
        """The image, put right where it is certainly turned or inverted, with notes on what bears on its score.

        Raises:
            OutOfScope: not_chest_film, lateral_film or child_film.
            UnusableImage: blank_image, burned_out_film, underexposed_film, collimated_film or unclear_orientation.
        """
        try:
            return self._check(radiograph)
        except UnusableImage as error:
            # A film that is refused may have been misread, or another frame be meant: the reader must learn of it.
            told = [note.message for note in radiograph.quality if note.code in _TOLD_OF_A_REFUSAL]
            if not told:
                raise
            is_misread = any(note.code == CONTRADICTORY_HEADER for note in radiograph.quality)
            kind, code = (UnusableImage, CONTRADICTORY_HEADER) if is_misread else (type(error), error.code)
            raise kind(code, " ".join((error.message, *told))) from error

    def _check(self, radiograph: Radiograph) -> Checked:
        sample = _sample(radiograph.pixels)
        inside = _exposed(sample)
        exposed = sample[inside]
        if fault := _exposure_fault(sample, exposed):
            raise _refusal(fault)
        verdict = self._ask(exposed)
        if max(verdict.frontal) < _ONE_FILM and self._is_pair(exposed, radiograph):
            raise _refusal("several_films")
        way = verdict.way if verdict.frontal[verdict.way] >= self._thresholds["certain"] else 0
        if verdict.frontal[way] < self._thresholds["least"] or verdict.lateral >= self._thresholds["lateral"]:
            rivals = {
                NOT_CHEST_FILM: verdict.neither,
                LATERAL_FILM: verdict.lateral,
                "unclear_orientation": sum(verdict.frontal[1:]),  # what speaks for an upright film refuses none
            }
            raise _refusal(max(rivals, key=rivals.__getitem__))
        turned_by = way % 4
        if not radiograph.states_age and self._child.refuses(_put_right(_thumbnail(exposed), way)):
            raise _refusal(CHILD_FILM)
        codes = {
            TURNED_FILM: turned_by > 0,
            "inverted_film": way >= WAYS // 2,
            "unusual_film": verdict.frontal[way] < self._thresholds["doubtful"],
            "cut_off_film": verdict.cut_off >= self._thresholds["cut_off"],
            "small_field": exposed.size < _SMALL_FIELD * sample.size,
            "border": exposed.size < _WHOLE_FIELD * sample.size,
            "tilted_film": way % 4 == 0 and self._is_tilted(exposed, way),
        }
        notes = tuple(QualityNote(code=code, message=_NOTES[code]) for code, applies in codes.items() if applies)
        kept = tuple(note for note in radiograph.quality if not codes.get(note.code))
        if not notes and radiograph.pixel_aspect == 1:
            return Checked(radiograph=radiograph, stored=radiograph)
        part = _region_of(inside, sample, radiograph) if codes["border"] else None
        greys = radiograph.pixels
        if part:
            greys = greys[part.y : part.y + part.height, part.x : part.x + part.width]
        greys = _square_pixels(greys, radiograph.pixel_aspect)
        greys = 1 - greys if way >= WAYS // 2 else greys
        pixels = np.ascontiguousarray(np.rot90(greys, turned_by))
        image = replace(radiograph.image, rows=pixels.shape[0], columns=pixels.shape[1])
        upright = Radiograph(image=image, pixels=pixels, quality=(*kept, *notes))
        return Checked(radiograph=upright, stored=radiograph, quarter_turns=turned_by, exposed=part)

    def _is_pair(self, exposed: Greys, radiograph: Radiograph) -> bool:
        """Whether an oblong film is two frontal ones: each half of its longer side makes an upright one of its own."""
        rows, columns = (
            length * part / _SAMPLED_PX for length, part in zip(radiograph.pixels.shape, exposed.shape, strict=True)
        )
        rows *= radiograph.pixel_aspect
        if max(rows, columns) < _PAIR * min(rows, columns):
            return False
        halves = np.array_split(exposed, 2, axis=int(columns > rows))
        return all(self._ask(exposed_part(half)).frontal[0] >= self._thresholds["certain"] for half in halves)

    def _is_tilted(self, exposed: Greys, way: int) -> bool:
        """Whether turning the film further one way makes a likely frontal film of it still, and the other way none.

        An upright film bears as much to either side.
        """
        image = Image.fromarray(np.ascontiguousarray(exposed))
        grey = float(np.median(exposed))
        turned = (image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=grey) for angle in (-_TURN, _TURN))
        low, high = sorted(self._ask(np.asarray(one)).frontal[way] for one in turned)
        return high >= _STILL_FRONTAL and low <= _FRONTAL_NO_MORE

    def judge(self, pixels: Greys) -> Verdict:
        """What the network says of an image's pixels, float32, (rows, columns), 0..1, whatever their exposure."""
        return self._ask(exposed_part(_sample(pixels)))

    def _ask(self, exposed: Greys) -> Verdict:
        thumbnail = _thumbnail(exposed)
        turned = [np.rot90(thumbnail, turns).ravel() for turns in range(4)]
        ways = np.stack([*turned, *(-way for way in turned)])
        answers = self._network(ways)  # (ways, answers)
        logits = np.append(answers[:, :2].T.ravel(), 0).astype(np.float64)
        odds = np.exp(logits - logits.max())
        frontal, lateral, neither = np.split(odds / odds.sum(), (WAYS, 2 * WAYS))
        way = int(frontal.argmax())
        return Verdict(
            frontal=tuple(frontal.tolist()),
            lateral=float(lateral.sum()),
            neither=float(neither[0]),
            cut_off=0.5 + 0.5 * math.tanh(float(answers[way, 2]) / 2),
        )


class GatedScorer:
    """A scorer behind the gates: the one place where every image passes them, whatever scores it.

    Analyses speak of the image as it is stored, so that boxes and crops lie where any viewer shows them; only the
    scorer sees it put right.
    """

    def __init__(self, scorer: Scorer, gates: Gates | None = None) -> None:
        self._scorer = scorer
        self._gates = gates or Gates()

    @property
    def card(self) -> ScorerCard:
        """What is known of its outputs."""
        return self._scorer.card

    @property
    def algorithm(self) -> Algorithm:
        """What computes the probabilities."""
        return self._scorer.algorithm

    @property
    def model_size_mb(self) -> float:
        """Size of the scorer's weights in megabytes (10^6 bytes)."""
        return self._scorer.model_size_mb

    def score(self, radiograph: Radiograph) -> Analysis:
        """The Analysis of an image that passes the gates.

        Raises:
            UnusableImage: as Gates.check.
            ModelUnavailable: the scorer could not run.
        """
        started, steps = time.perf_counter(), Steps()
        unchecked = replace(radiograph, quality=(*radiograph.quality, _UNCHECKED))
        checked = Checked(radiograph=unchecked, stored=radiograph)
        with steps.step(StepName.SCOPE, image_in_words(radiograph), raising=FirstreadError) as outcome:
            checked = self._gates.check(radiograph)
            notes = [note.code.replace("_", " ") for note in checked.radiograph.quality]
            outcome.end(f"to be scored as a frontal chest film{f', with notes: {joined(notes)}' if notes else ''}")
        analysis = checked.restore(self._scorer.score(checked.radiograph))
        return replace(analysis.after(steps.taken), elapsed_ms=(time.perf_counter() - started) * 1000)


def _loaded(file: Path, made_of: Callable[[Mapping[str, Any]], _Made]) -> _Made:
    """What a file of weights holds.

    Raises:
        ModelUnavailable: model_missing or model_invalid.
    """
    try:
        return made_of(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise ModelUnavailable("model_missing", f"{file} is missing: install Firstread again.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ModelUnavailable(
            "model_invalid", f"{file} lacks or misstates {error}: install Firstread again."
        ) from error


def _upright_network(document: Mapping[str, Any]) -> tuple[TwoLayers, dict[str, float]]:
    names = ("certain", "least", "lateral", "doubtful", "cut_off")
    return TwoLayers(document["network"], ANSWERS), {name: float(document["thresholds"][name]) for name in names}


def exposed_part(sample: Greys) -> Greys:
    """What lies inside the borders: edge rows and columns of hardly more than one grey are left out."""
    return sample[_exposed(sample)]


def _exposed(sample: Greys) -> tuple[slice, slice]:
    """The rows and columns inside the borders; all of them where hardly any would be left."""
    flat = _FLAT * np.ptp(np.percentile(sample, (1, 99)))
    whole = [slice(0, length) for length in sample.shape]
    inside = whole.copy()
    for axis in (0, 1, 0, 1):  # what is a border of the whole film may hide another
        part = sample[tuple(inside)]
        live = np.flatnonzero(np.ptp(np.percentile(part, (10, 90), axis=1 - axis), axis=0) > flat)
        if len(live) < _LEAST_LINES:
            inside = whole
            break
        first = inside[axis].start
        inside[axis] = slice(first + int(live[0]), first + int(live[-1]) + 1)
    return inside[0], inside[1]


def _region_of(inside: tuple[slice, slice], sample: Greys, radiograph: Radiograph) -> Region:
    """Where a part of a sample lies on the film, in stored pixels."""
    (top, bottom), (left, right) = (
        (round(part.start * stored / sampled), round(part.stop * stored / sampled))
        for part, stored, sampled in zip(inside, radiograph.pixels.shape, sample.shape, strict=True)
    )
    return Region(x=left, y=top, width=right - left, height=bottom - top)


def _square_pixels(greys: Greys, aspect: float) -> Greys:
    """The film with square pixels, of the size of the smaller side of those that it has."""
    if aspect == 1:
        return greys
    rows, columns = greys.shape
    size = (columns, round(rows * aspect)) if aspect > 1 else (round(columns / aspect), rows)
    return np.asarray(Image.fromarray(np.ascontiguousarray(greys)).resize(size, Image.Resampling.BILINEAR))


def squeeze(greys: Greys, side_px: int) -> Greys:
    """Greys of any shape averaged into a square; the shape of a film tells nothing that its content does not."""
    image = Image.fromarray(np.ascontiguousarray(greys))
    return np.asarray(image.resize((side_px, side_px), Image.Resampling.BOX), dtype=np.float32)


def ranks(greys: Greys) -> Greys:
    """Ranks of greys 0..1, centered, from -1 to 1; greys within 1/255 share a rank, or noise would order them."""
    _, place, counts = np.unique(np.rint(greys * 255), return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - (counts + 1) / 2)[place].reshape(greys.shape)
    return np.asarray(2 * rank / (greys.size - 1) - 1, dtype=np.float32)


def _thumbnail(exposed: Greys) -> Greys:
    """What the networks see of a film: (24, 24) ranks."""
    return ranks(squeeze(exposed, SIDE_PX))


def _put_right(thumbnail: Greys, way: int) -> Greys:
    """A thumbnail of ranks turned, and inverted, by one of the eight ways."""
    return np.rot90(-thumbnail if way >= WAYS // 2 else thumbnail, way % 4)


def _sample(pixels: Greys) -> Greys:
    """A film squeezed to 128 x 128, from no more than a sixteenth of a megapixel of it."""
    rows, columns = (math.ceil(length / (2 * _SAMPLED_PX)) for length in pixels.shape)
    return squeeze(pixels[::rows, ::columns], _SAMPLED_PX)


def _exposure_fault(sample: Greys, exposed: Greys) -> str | None:
    """The code of what makes it pointless to look any further; None for nearly every film."""
    white, black = float(np.mean(exposed >= _WHITE)), float(np.mean(exposed <= _BLACK))
    if exposed.size < _LEAST_EXPOSED * sample.size:
        return "collimated_film"
    if white + black > 1 - _LEAST_GREY:
        return "burned_out_film" if white > black else "underexposed_film"
    return "blank_image" if np.ptp(np.percentile(exposed, (5, 95))) < _LEAST_RANGE else None


def _refusal(code: str) -> UnusableImage:
    kind = OutOfScope if code in SEEN_OUT_OF_SCOPE else UnusableImage
    return kind(code, _REFUSALS[code])
