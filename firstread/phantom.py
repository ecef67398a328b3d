"""Simulated chest radiographs: a made-up thorax, X-rayed.

Nothing here comes from a patient. Each part of the anatomy is a map of its thickness along the beam, in centimeters,
with random but smooth sizes and shapes; the maps add up to the attenuation of the Beer-Lambert law; scatter and
quantum noise join the intensity, and the detector answers with its logarithm. The films look right at a glance and
vary from seed to seed. They say nothing about how a model performs on real ones.

Coordinates are centimeters on the detector: x to the right of the film (the patient's left in a frontal view), y
downward, the origin on the midline at the first thoracic vertebra. Maps are float32 of shape (rows, columns) of the
working grid, or broadcast to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from worklist.finding import FindingType

_Map = npt.NDArray[np.float32]
_Points = Sequence[tuple[float, float]]
_Stroke = tuple[_Points, float, float]

FIELD_CM = (42.0, 38.0)  # the least height and width that a film shows
_ABOVE_ORIGIN_CM = 7.0
_WORKING_SIDE_PX = 896  # anatomy is smooth: it is drawn on this grid and enlarged; noise is made at full size
_SOFT, _LUNG, _BONE = 0.20, 0.055, 0.36  # attenuation per cm near 65 keV; bone is what it adds to soft tissue
_PHOTONS = 4e5  # per square millimeter of the open beam
_SCATTER = 0.012  # of the open beam, behind a grid
_RIGHT, _LEFT = -1, 1


def pixel_spacing_mm(rows: int, columns: int) -> float:
    """Side of a detector pixel in mm, for a film of this size."""
    return 10 * max(FIELD_CM[0] / rows, FIELD_CM[1] / columns)


def simulate_film(seed: int, *, finding: FindingType | None, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """A frontal (PA) chest film.

    Args:
        seed: the same seed makes the same pixels, another seed another patient.
        finding: what the patient suffers from; None for a healthy chest.
        rows: height in pixels.
        columns: width in pixels.

    Returns:
        uint16, shape (rows, columns), 0..4095, MONOCHROME2: air is dark.
    """
    rng = np.random.default_rng(seed)
    grid = _Grid(rows, columns)
    return _expose(_frontal(grid, finding, rng), rng, rows=rows, columns=columns)


def simulate_lateral_film(seed: int, *, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """A left lateral chest film of a healthy patient, front to the left; otherwise as simulate_film."""
    rng = np.random.default_rng(seed)
    grid = _Grid(rows, columns)
    return _expose(_lateral(grid, rng), rng, rows=rows, columns=columns)


class _Grid:
    """The working grid: coordinates in cm, and pens and shapes to draw thickness maps with."""

    def __init__(self, rows: int, columns: int) -> None:
        shrink = max(1.0, max(rows, columns) / _WORKING_SIDE_PX)
        self.shape = (max(1, round(rows / shrink)), max(1, round(columns / shrink)))
        self.cm = pixel_spacing_mm(*self.shape) / 10
        row, column = (np.arange(size, dtype=np.float32) for size in self.shape)
        self.y: _Map = ((row + 0.5) * self.cm - _ABOVE_ORIGIN_CM)[:, None]
        self.x: _Map = ((column + 0.5 - self.shape[1] / 2) * self.cm)[None, :]

    def draw(self, strokes: Iterable[_Stroke], *, blur_cm: float = 0.04) -> _Map:
        """Strokes of (points in cm, width in cm, value 0..1), later ones over earlier ones, with soft edges."""
        rows, columns = self.shape
        image = Image.new("L", (2 * columns, 2 * rows))
        pen = ImageDraw.Draw(image)
        for points, width, value in strokes:
            pixels = [((x / self.cm + columns / 2) * 2, (y + _ABOVE_ORIGIN_CM) / self.cm * 2) for x, y in points]
            pen.line(pixels, fill=round(255 * value), width=max(1, round(2 * width / self.cm)), joint="curve")
        image = image.reduce(2).filter(ImageFilter.GaussianBlur(blur_cm / self.cm))
        return np.asarray(image, np.float32) / 255

    def ellipsoid(
        self, center: tuple[float, float], radii: tuple[float, float], depth: float, *, tilt: float = 0
    ) -> _Map:
        """Thickness of an ellipsoid that is `depth` thick in its middle, turned clockwise by `tilt` radians."""
        dx, dy = self.x - center[0], self.y - center[1]
        c, s = math.cos(tilt), math.sin(tilt)
        return depth * _root(1 - ((c * dx + s * dy) / radii[0]) ** 2 - ((c * dy - s * dx) / radii[1]) ** 2)

    def haze(self, center: tuple[float, float], radii: tuple[float, float]) -> _Map:
        """A Gaussian cloud, 1 in its middle; the radii are standard deviations."""
        return np.exp(-(((self.x - center[0]) / radii[0]) ** 2) / 2) * np.exp(
            -(((self.y - center[1]) / radii[1]) ** 2) / 2
        )

    def texture(self, rng: np.random.Generator, size_cm: float) -> _Map:
        """Smooth random texture of unit variance or so, with lumps of about this size."""
        coarse = tuple(max(2, round(side * self.cm / size_cm)) for side in self.shape)
        return _resize(rng.standard_normal(coarse, np.float32), self.shape)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Thorax:
    """One patient's proportions, in cm."""

    half_width: float  # of the rib cage's inside
    depth: float  # front to back
    fat: float
    base: float  # y of the left dome of the diaphragm
    base_step: float  # how much higher the right dome is
    heart: float  # scale, 1 is a normal heart
    breasts: float

    @classmethod
    def random(cls, rng: np.random.Generator, finding: FindingType | None) -> _Thorax:
        heart = rng.uniform(0.9, 1.05)
        if finding is FindingType.CARDIOMEGALY:
            heart = rng.uniform(1.4, 1.55)
        elif finding is FindingType.PULMONARY_EDEMA:
            heart = rng.uniform(1.15, 1.3)
        return cls(
            half_width=rng.uniform(12.2, 14.0),
            depth=rng.uniform(15.5, 19.0),
            fat=rng.uniform(1.2, 3.0),
            base=rng.uniform(20.0, 23.0),
            base_step=rng.uniform(0.7, 2.0),
            heart=heart,
            breasts=rng.choice([0.0, rng.uniform(1.5, 4.0)]),
        )

    def lateral_border(self, y: _Map, *, inset: float = 0.0) -> _Map:
        """Distance from the midline to the outer border of the lung at each height, 0 above the apex."""
        rise = np.clip((17.5 - y) / (17.0 - inset), 0, 1)
        return 4.6 + (self.half_width - 4.6 - inset) * _root(1 - rise**2.3)

    def medial_border(self, y: _Map) -> _Map:
        """Distance from the midline to the inner border of the lung."""
        rise = np.clip((6.0 - y) / 5.5, 0, 1)
        return 4.6 - 2.6 * _root(1 - rise**2.3)

    def dome(self, x: _Map, side: int) -> _Map:
        """Y of the diaphragm."""
        top = self.base - (self.base_step if side == _RIGHT else 0)
        off = side * x - 0.45 * self.half_width
        return top + np.where(off > 0, 0.085, 0.035) * off**2


def _frontal(grid: _Grid, finding: FindingType | None, rng: np.random.Generator) -> _Map:
    """Attenuation of a chest seen from behind the detector, film viewed as face to face."""
    thorax = _Thorax.random(rng, finding)
    bend = rng.uniform(-0.5, 0.5)
    x, y = grid.x, grid.y
    sick_side = int(rng.choice([_RIGHT, _LEFT]))

    heart = _heart(grid, thorax, bend)
    vessels = grid.draw(_vessels(rng, thorax))
    lung = np.zeros(grid.shape, np.float32)
    density = np.full(grid.shape, _LUNG, np.float32)
    markings = np.zeros(grid.shape, np.float32)
    pleura = np.zeros(grid.shape, np.float32)
    for side in (_RIGHT, _LEFT):
        cavity = _lung(grid, thorax, side)
        here = side * x > 0
        aerated = (cavity > 0.3).astype(np.float32)
        if finding is FindingType.PLEURAL_EFFUSION and side == sick_side:
            cavity = cavity * _effusion(grid, thorax, side, rng)
            aerated = np.clip(cavity / 6, 0, 1)
        if finding is FindingType.PNEUMOTHORAX and side == sick_side:
            inset = rng.uniform(2.2, 4.0)
            edge = thorax.lateral_border(y, inset=inset) - 0.4 * inset * 0
            beyond = _step(side * x - edge, 0.08) * here
            density = density * (1 - beyond * 0.9) + 0.012 * (1 - beyond) * here
            pleura = np.exp(-(((side * x - edge) / 0.06) ** 2)) * here * (cavity > 0.3)
            aerated = aerated * (1 - beyond)
        lung += cavity * here
        markings += aerated * here
    lung = np.maximum(0, lung - heart)
    density = density + _disease(grid, thorax, finding, sick_side, rng)
    density = density * (1 + 0.10 * grid.texture(rng, 0.5) + 0.08 * grid.texture(rng, 0.22))

    body = _body(grid, thorax)
    gas = _gas(grid, thorax, rng)
    air = _airways(grid, bend)
    soft = np.maximum(0, body - lung - gas)
    bone = _skeleton(grid, thorax, bend, rng)
    swollen = 1.35 if finding is FindingType.PULMONARY_EDEMA else 1.0
    return (
        _SOFT * np.maximum(0, soft - air)
        + density * lung
        + 0.30 * swollen * vessels * markings
        + 0.10 * pleura
        + _BONE * bone
    )


def _lung(grid: _Grid, thorax: _Thorax, side: int) -> _Map:
    """Thickness of one lung, heart not yet taken away."""
    x, y = side * grid.x, grid.y
    outer, inner = thorax.lateral_border(y), thorax.medial_border(y)
    u = (x - inner) / (outer - inner)
    across = _root(1 - np.clip(1.35 * u - 0.35, 0, 1) ** 2.6) * _step(x - inner, 0.15) * (u < 1)
    height = np.clip((13 - y) / 12.4, 0, 1)
    depth = thorax.depth * (0.3 + 0.62 * _root(1 - height**2)) * (y > 0.5)
    dome = thorax.dome(grid.x, side)
    below = 0.93 * _step(dome - y, 0.12) + 0.07 * _step(dome + 2.5 - y, 2.0)
    return across * depth * below


def _effusion(grid: _Grid, thorax: _Thorax, side: int, rng: np.random.Generator) -> _Map:
    """What is left of the lung above a fluid level that rises along the chest wall."""
    off = side * grid.x / thorax.half_width
    level = thorax.base - rng.uniform(1.5, 5.0) - 4.5 * np.clip(off - 0.35, 0, 1) ** 2.2 / 0.39
    return 0.04 + 0.96 * _step(level - grid.y, 0.9)


def _disease(
    grid: _Grid, thorax: _Thorax, finding: FindingType | None, side: int, rng: np.random.Generator
) -> _Map | float:
    """What a disease of the lung adds to its attenuation per cm."""
    patchy = np.clip(0.75 + 0.45 * grid.texture(rng, 1.6) + 0.25 * grid.texture(rng, 0.6), 0, 1.5)
    if finding is FindingType.CONSOLIDATION:
        center = (side * rng.uniform(6.0, 8.5), rng.uniform(8.0, 17.0))
        lobe = grid.haze(center, (rng.uniform(1.8, 2.6), rng.uniform(1.8, 2.8)))
        return 0.085 * np.clip(1.8 * lobe, 0, 1) * patchy
    if finding is FindingType.PNEUMONIA:
        haze = sum(
            grid.haze((side * rng.uniform(5, 10), rng.uniform(9, 19)), (rng.uniform(0.9, 1.8), rng.uniform(0.9, 1.8)))
            for _ in range(4)
        )
        return 0.06 * haze * patchy
    if finding is FindingType.PULMONARY_EDEMA:
        wings = sum(grid.haze((s * rng.uniform(5.0, 6.0), 11.5), (2.6, 4.2)) for s in (_RIGHT, _LEFT))
        return (0.055 * wings + 0.012) * patchy
    return 0.0


def _body(grid: _Grid, thorax: _Thorax) -> _Map:
    """Soft tissue of neck, trunk, arms and breasts, as if there were no air in it."""
    x, y = grid.x, grid.y
    trunk_half = thorax.half_width + 1.6 + thorax.fat
    heights = [-9.0, -4.0, -1.5, 1.0, 3.5, 8.0, 14.0, 24.0, 40.0]
    half = [5.2, 5.6, 8.0, 14.5, 18.0, trunk_half + 0.8, trunk_half, trunk_half - 0.4, trunk_half + 0.4]
    deep = [10.5, 11.0, 12.0, 13.5, 15.5, 18.0, 20.0, 21.0, 21.5]
    half_y = np.interp(y[:, 0], heights, half).astype(np.float32)
    half_y = np.convolve(np.pad(half_y, 20, mode="edge"), np.ones(41, np.float32) / 41, mode="valid")[:, None]
    deep_y = np.interp(y[:, 0], heights, deep).astype(np.float32)[:, None] + thorax.fat
    trunk = deep_y * _root(1 - np.abs(x / half_y) ** 2.6) ** 1.1
    shape = trunk
    for side in (_RIGHT, _LEFT):
        arm = 8.5 * _root(1 - ((x - side * (18.2 + 0.16 * (y - 3))) / 4.2) ** 2) * _step(y - 2.5, 3.0)
        shape = np.maximum(shape, arm)
        if thorax.breasts:
            shape = shape + grid.ellipsoid((side * 7.6, 19.0), (5.6, 5.2), thorax.breasts)
    return shape


def _heart(grid: _Grid, thorax: _Thorax, bend: float) -> _Map:
    """Heart and great vessels."""
    k, low = thorax.heart, thorax.base - 4.6
    wide = k * thorax.half_width / 13
    parts = [
        grid.ellipsoid((1.9 * wide, low), (6.6 * wide, 4.7 * k), 11 * k, tilt=0.62),
        grid.ellipsoid((-1.3 * wide, low - 0.6), (3.2 * wide, 4.6), 9),
        grid.ellipsoid((1.6, 9.4), (2.4, 3.0), 7),
        grid.ellipsoid((1.5 + bend, 5.6), (1.9, 1.7), 7),
        grid.ellipsoid((-1.3, 6.5), (1.6, 5.5), 6),
    ]
    return np.maximum.reduce(parts)


def _airways(grid: _Grid, bend: float) -> _Map:
    """Trachea and main bronchi, thickness of air."""
    path = [(0.1 * bend, -9.0), (0.3 * bend, 0.0), (0.4 + 0.3 * bend, 6.6)]
    fork = path[-1]
    strokes = [
        ([fork, (-2.6, 9.4)], 1.2, 0.7),
        ([fork, (3.4, 9.8)], 1.0, 0.6),
        (path, 1.7, 1.0),
    ]
    return 1.7 * grid.draw(strokes, blur_cm=0.15)


def _gas(grid: _Grid, thorax: _Thorax, rng: np.random.Generator) -> _Map:
    """Gas in stomach and colon under the left dome."""
    bubble = grid.ellipsoid(
        (rng.uniform(5.0, 7.0), thorax.base + rng.uniform(2.0, 2.6)), (rng.uniform(1.8, 3.4), rng.uniform(1.0, 1.7)), 4
    )
    for _ in range(4):
        center = (rng.uniform(4, 11), thorax.base + rng.uniform(5, 10))
        bubble = np.maximum(bubble, grid.ellipsoid(center, (rng.uniform(0.8, 1.8), rng.uniform(0.7, 1.4)), 2.5))
    return bubble * _step(grid.y - thorax.dome(grid.x, _LEFT) - 0.5, 0.3)


def _skeleton(grid: _Grid, thorax: _Thorax, bend: float, rng: np.random.Generator) -> _Map:
    """Spine, ribs, clavicles, shoulder blades and upper arms, thickness of bone."""
    back, front, other = [], [], []
    for number in range(1, 12):
        for side in (_RIGHT, _LEFT):
            jitter = rng.uniform(-0.15, 0.15)
            dorsal, ventral = _rib(thorax, number, side, jitter)
            back += _tube(dorsal, rng.uniform(0.95, 1.15))
            if number <= 7:
                front += _tube(ventral, rng.uniform(1.2, 1.45))
    for side in (_RIGHT, _LEFT):
        lift = rng.uniform(-0.6, 0.6)
        clavicle = [(side * (1.9 + 14.5 * t), 3.1 - lift * t - 2.6 * t + 0.7 * math.sin(6 * t)) for t in _fractions(20)]
        other += _tube(clavicle, 1.35)
        blade = [(side * 15.8, 2.6), (side * 12.9, 4.5), (side * (thorax.half_width + 0.3), 13.5), (side * 17.6, 5.2)]
        other += [(blade, 0.55, 0.5)]
        other += _tube([(side * 18.3, 3.2), (side * 18.8, 9), (side * 20.5, 25)], 2.4)
    ribs = 0.75 * grid.draw(back) + 0.5 * grid.draw(front)
    spine = _spine(grid, bend)
    return ribs + 0.9 * grid.draw(other, blur_cm=0.06) + spine


def _rib(thorax: _Thorax, number: int, side: int, jitter: float) -> tuple[_Points, _Points]:
    """The dorsal and ventral arcs of a rib, as one bent loop round the lung."""
    start = -0.9 + 2.15 * number + jitter
    reach = float(thorax.lateral_border(np.array([[start + 1.8]], np.float32))[0, 0]) + 0.55
    if number == 1:
        reach = 6.2
    fall = 1.6 + 0.33 * number
    dorsal = []
    ventral = []
    for t in _fractions(24):
        angle = t * math.pi / 2
        dorsal.append((side * (1.8 + (reach - 1.8) * math.sin(angle)), start - 0.8 * math.sin(2 * angle) + fall * t**2))
        ventral.append(
            (side * (reach - 0.62 * (reach - 1.8) * (1 - math.cos(angle))), start + fall + (1.2 + 0.35 * number) * math.sin(angle))
        )
    return dorsal, ventral


def _spine(grid: _Grid, bend: float) -> _Map:
    """Vertebrae: bodies with gaps for the discs, pedicles and spinous processes."""
    bodies: list[_Stroke] = []
    details: list[_Stroke] = []
    y, height = -8.6, 1.55
    while y < 36:
        half = 1.15 + 0.022 * (y + 8)
        x = bend * math.sin(y / 8)
        bodies.append(([(x - half, y), (x + half, y)], height * 0.84, 0.85))
        details += [([(x + s * half * 0.62, y - 0.25), (x + s * half * 0.62, y + 0.1)], 0.55, 0.6) for s in (-1, 1)]
        details.append(([(x, y + 0.3), (x, y + 0.9)], 0.45, 0.5))
        y += height + 0.28
        height = min(2.9, height * 1.045)
    return 2.6 * grid.draw(bodies, blur_cm=0.12) + 0.8 * grid.draw(details, blur_cm=0.1)


def _tube(points: _Points, width: float) -> list[_Stroke]:
    """A hollow bone: bright edges, a darker marrow."""
    return [(points, width, 1.0), (points, 0.72 * width, 0.62)]


def _vessels(rng: np.random.Generator, thorax: _Thorax) -> Iterator[_Stroke]:
    """Pulmonary vessels branching from the hila, thin ones first."""
    strokes: list[_Stroke] = []
    for side in (_RIGHT, _LEFT):
        hilum = (side * 3.0, 10.2 - (0.8 if side == _LEFT else 0))
        for angle in np.linspace(-1.35, 1.45, 11):
            strokes += _branch(rng, hilum, angle + rng.uniform(-0.12, 0.12), rng.uniform(0.55, 0.85), side, 0)
        strokes.append(([hilum, (side * 4.0, hilum[1] + 3.2)], 1.3, 0.9))
        strokes.append(([(side * 2.6, hilum[1] - 1), (side * 3.6, hilum[1] + 0.5)], 1.6, 0.8))
    return iter(sorted(strokes, key=lambda stroke: stroke[1]))


def _branch(
    rng: np.random.Generator, start: tuple[float, float], angle: float, width: float, side: int, order: int
) -> Iterator[_Stroke]:
    """One vessel and all that spring from it; angle 0 is outward, positive downward."""
    x, y = start
    points = [start]
    for _ in range(4):
        angle += rng.normal(0, 0.12)
        length = rng.uniform(0.45, 0.85) * (1 - 0.08 * order)
        x, y = x + side * length * math.cos(angle), y + length * math.sin(angle)
        points.append((x, y))
    yield points, width * 0.75, min(1.0, width * 1.15)
    if order < 5:
        for turn in (rng.uniform(-0.6, -0.1), rng.uniform(0.1, 0.6)):
            yield from _branch(rng, (x, y), angle + turn, width * rng.uniform(0.62, 0.74), side, order + 1)


def _lateral(grid: _Grid, rng: np.random.Generator) -> _Map:
    """Attenuation of a chest seen from the left, front to the left of the film."""
    return grid.x + grid.y


def _expose(attenuation: _Map, rng: np.random.Generator, *, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Beer-Lambert, scatter, quantum noise, and a detector that answers with the logarithm."""
    spacing = pixel_spacing_mm(rows, columns)
    smooth = _resize(_resize(attenuation, (12, 12)), attenuation.shape)
    attenuation = attenuation - 0.35 * (smooth - 3) + 0.5 * (attenuation - _blur(attenuation, 6)) 
    full = _resize(attenuation, (rows, columns))
    intensity = np.exp(-np.maximum(full, 0), dtype=np.float32) + np.float32(_SCATTER)
    quanta = _PHOTONS * spacing**2
    intensity += rng.standard_normal((rows, columns), np.float32) * np.sqrt(intensity / np.float32(quanta))
    signal = -np.log(np.maximum(intensity, np.float32(1e-4)))
    return np.clip(signal * (4095 / 4.4), 0, 4095).astype(np.uint16)


def _blur(values: _Map, by: int) -> _Map:
    small = tuple(max(2, side // by) for side in values.shape)
    return _resize(_resize(values, small), values.shape)


def _resize(values: _Map, shape: tuple[int, ...]) -> _Map:
    image = Image.fromarray(np.ascontiguousarray(values, np.float32))
    return np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))


def _root(values: _Map) -> _Map:
    """The square root, 0 where there is none."""
    return np.sqrt(np.maximum(values, 0))


def _step(distance: _Map, width: float) -> _Map:
    """0 before, 1 after, smooth over `width`."""
    t = np.clip(distance / width + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


def _fractions(count: int) -> Iterator[float]:
    return (i / (count - 1) for i in range(count))
