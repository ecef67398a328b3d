"""Simulated chest radiographs: a made-up thorax, X-rayed.

Nothing here comes from a patient. Each part of the anatomy is a map of its thickness along the beam, in centimeters,
with random but smooth sizes and shapes; the maps add up to the attenuation of the Beer-Lambert law; scatter and
quantum noise join the intensity, and the detector answers with its logarithm. The films look right at a glance and
vary from seed to seed. They say nothing about how a model performs on real ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.simulated.thickness import Grid, Map, Point, Stroke, pixel_spacing_mm, resize, root, step
from worklist.finding import FindingType

_SOFT, _LUNG, _BONE = 0.20, 0.055, 0.36  # attenuation per cm near 65 keV; bone is what it adds to soft tissue
_PHOTONS = 6e5  # per square millimeter of the open beam
_SCATTER = 0.010  # of the open beam, behind a grid
_FEET_CM = 40.0  # below any film
_ENLARGED = {FindingType.CARDIOMEGALY: 1.34, FindingType.PULMONARY_EDEMA: 1.22}  # hearts
_SIDES = (-1, 1)  # the patient's right and left


def simulate_film(seed: int, *, finding: FindingType | None, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """A frontal (PA) chest film.

    Args:
        seed: the same seed makes the same pixels, another seed another patient; with another finding it is the
            same patient.
        finding: what the patient suffers from; None for a healthy chest.
        rows: height in pixels.
        columns: width in pixels.

    Returns:
        uint16, shape (rows, columns), 0..4095, MONOCHROME2: air is dark.
    """
    rng = np.random.default_rng(seed)
    grid = Grid(rows, columns, zoom=rng.uniform(0.92, 1.05))
    attenuation = _frontal(grid, _Thorax.random(rng, finding), finding, rng)
    return _expose(attenuation, rng, rows=rows, columns=columns)


def simulate_lateral_film(seed: int, *, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """A left lateral chest film of a healthy patient, front to the left; otherwise as simulate_film."""
    rng = np.random.default_rng(seed)
    grid = Grid(rows, columns, zoom=rng.uniform(0.92, 1.05))
    return _expose(_lateral(grid, _Thorax.random(rng), rng), rng, rows=rows, columns=columns)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Thorax:
    """One patient's proportions, in cm where they are lengths."""

    half_width: float  # of the rib cage's inside
    depth: float  # front to back
    fat: float
    base: float  # y of the left dome of the diaphragm
    base_step: float  # how much higher the right dome is
    heart: float  # scale, 1 is a normal heart
    breasts: float
    bend: float  # of the spine, to the patient's left
    sick_side: int

    @classmethod
    def random(cls, rng: np.random.Generator, finding: FindingType | None = None) -> _Thorax:
        """Somebody who may have a finding that changes the heart."""
        return cls(
            half_width=rng.uniform(12.4, 14.0),
            depth=rng.uniform(15.5, 19.0),
            fat=rng.uniform(0.8, 2.2),
            base=rng.uniform(20.5, 23.5),
            base_step=rng.uniform(0.7, 2.0),
            heart=rng.uniform(0.92, 1.06) * (_ENLARGED.get(finding, 1.0) if finding else 1.0),
            breasts=rng.uniform(1.5, 4.0) if rng.random() < 0.5 else 0.0,  # noqa: PLR2004 - one patient in two
            bend=rng.uniform(-0.7, 0.7),
            sick_side=int(rng.choice(_SIDES)),
        )

    def outer_border(self, y: Map) -> Map:
        """Distance from the midline to the outer border of the lung at each height."""
        rise = np.clip((17.5 - y) / 17.0, 0, 1)
        return 4.6 + (self.half_width - 4.6) * root(1 - rise**2.3)

    def inner_border(self, y: Map) -> Map:
        """Distance from the midline to the inner border of the lung."""
        rise = np.clip((6.0 - y) / 5.5, 0, 1)
        waist: Map = 2.0 - 0.3 * self.bend - 0.25 * np.sin(y / 2.5 + 3 * self.bend)
        return 4.6 - waist * root(1 - rise**2.3)

    def dome(self, x: Map, side: int) -> Map:
        """Height of the diaphragm."""
        top = self.base - (self.base_step if side < 0 else 0)
        off: Map = side * x - 0.45 * self.half_width
        return top + 0.06 * off * off + 0.025 * off * np.abs(off)  # steeper toward the chest wall


def _frontal(grid: Grid, thorax: _Thorax, finding: FindingType | None, rng: np.random.Generator) -> Map:
    """Attenuation of a chest seen from the front."""
    disease = rng.spawn(1)[0]  # apart, so that a seed is the same patient in health and in disease
    lung: Map = np.zeros(grid.shape, np.float32)
    aerated: Map = np.zeros(grid.shape, np.float32)  # 1 where there are vessels in the lung
    density: Map = np.full(grid.shape, _LUNG, np.float32)
    pleura: Map = np.zeros(grid.shape, np.float32)
    for side in _SIDES:
        here = step(side * grid.x, 0.1)
        cavity = _lung(grid, thorax, side) * here
        inside = step(cavity - 1, 2)
        if side == thorax.sick_side and finding is FindingType.PLEURAL_EFFUSION:
            cavity = cavity * _effusion_leaves(grid, thorax, disease)
        if side == thorax.sick_side and finding is FindingType.PNEUMOTHORAX:
            left = _collapse_leaves(grid, thorax, disease)
            pleura = 4 * left * (1 - left) * inside
            density = density * (1 - 0.85 * (1 - left) * here) + 0.012 * left * here
            inside = inside * left
        lung += cavity
        aerated += inside * step(cavity - 1, 2)
    lung = np.maximum(0, lung - _heart(grid, thorax))
    density = density + _disease(grid, thorax, finding, disease)
    density = density * (1 + 0.05 * grid.texture(rng, 0.6) + 0.06 * grid.texture(rng, 0.25))
    vessels = grid.draw(_vessels(rng)) * aerated
    congestion = 1.35 if finding is FindingType.PULMONARY_EDEMA else 1.0
    soft = _body(grid, thorax) - lung - _airways(grid, thorax) - _gas(grid, thorax, rng)
    bone = _skeleton(grid, thorax, rng)
    tissue: Map = _SOFT * np.maximum(0, soft) + density * lung + _BONE * bone
    return tissue + 0.3 * congestion * vessels + 0.08 * pleura


def _lung(grid: Grid, thorax: _Thorax, side: int) -> Map:
    """Thickness of one lung, heart not yet taken away."""
    x, y = side * grid.x, grid.y
    outer, inner = thorax.outer_border(y), thorax.inner_border(y)
    u = (x - inner) / np.maximum(outer - inner, grid.cm)
    across = root(1 - np.clip(1.35 * u - 0.35, 0, 1) ** 2.6) * step(x - inner, 0.6)
    rise = np.clip((13 - y) / 12.4, 0, 1)
    depth = thorax.depth * (0.25 + 0.67 * root(1 - rise**2)) * step(y - 0.6, 0.3)
    dome = thorax.dome(grid.x, side)
    return across * depth * (0.93 * step(dome - y, 0.15) + 0.07 * step(dome + 2.5 - y, 2.0))


def _collapse_leaves(grid: Grid, thorax: _Thorax, rng: np.random.Generator) -> Map:
    """1 where the lung still is, 0 in the air of a pneumothorax around it."""
    inset, drop = rng.uniform(1.8, 3.6), rng.uniform(1.5, 3.5)
    x, y = thorax.sick_side * grid.x, grid.y - drop
    outer = thorax.outer_border(y) - inset * step(y, 8)
    return step(outer - x, 0.16) * step(x - thorax.inner_border(y), 0.16) * step(y - 0.6, 0.3)


def _effusion_leaves(grid: Grid, thorax: _Thorax, rng: np.random.Generator) -> Map:
    """The share of the lung above a fluid level that climbs the chest wall."""
    off = thorax.sick_side * grid.x / thorax.half_width
    level = thorax.base - rng.uniform(0.5, 4.5) - 11 * np.clip(off - 0.35, 0, 1) ** 2.2
    return 0.04 + 0.96 * step(level - grid.y, 1.4)


def _disease(grid: Grid, thorax: _Thorax, finding: FindingType | None, rng: np.random.Generator) -> Map | float:
    """What a disease of the lung adds to its attenuation per cm."""
    side, patchy = thorax.sick_side, 1 + 0.2 * grid.texture(rng, 1.2) + 0.12 * grid.texture(rng, 0.5)
    if finding is FindingType.CONSOLIDATION:
        center = (side * rng.uniform(6.0, 8.5), rng.uniform(9.0, 17.0))
        lobe = grid.haze(center, (rng.uniform(2.2, 3.2), rng.uniform(2.0, 3.0)))
        return 0.075 * step(lobe - 0.45 + 0.1 * grid.texture(rng, 1.8), 0.6) * patchy
    if finding is FindingType.PNEUMONIA:
        haze: Map = np.zeros(grid.shape, np.float32)
        for _ in range(5):
            center = (side * rng.uniform(5, 10), rng.uniform(11, 19))
            haze = haze + grid.haze(center, (rng.uniform(0.8, 1.8), rng.uniform(0.8, 1.6)))
        return 0.045 * haze * patchy
    if finding is FindingType.PULMONARY_EDEMA:
        right, left = (grid.haze((s * rng.uniform(5.0, 6.0), 12), (2.8, 4.2)) for s in _SIDES)
        return (0.045 * (right + left) + 0.015) * patchy
    return 0.0


def _body(grid: Grid, thorax: _Thorax) -> Map:
    """Soft tissue of neck, trunk, arms and breasts, as if there were no air in it."""
    trunk = thorax.half_width + 1.6 + thorax.fat
    heights = [-9, -4, -2, 0.5, 3, 7, 12, 24, 40]
    half_widths = [5.0, 5.3, 6.8, 12.0, 18.5, trunk + 4.0, trunk + 0.6, trunk - 0.4, trunk + 0.4]
    depths = [10.5, 10.5, 11.0, 12.5, 15.0, 17.5, 19.5, 20.5, 21.0]
    half_width = grid.profile(heights, half_widths)
    across = root(1 - np.clip(np.abs(grid.x) / half_width, 0, 1) ** 2.6)
    body = (grid.profile(heights, depths) + thorax.fat) * across
    for side in _SIDES:
        body = np.maximum(body, grid.limb((side * 16.0, 6.2), (side * 25, 46), 4.4))
        if thorax.breasts:
            body = body + grid.ellipsoid((side * 7.6, 19.5), (5.8, 5.0), thorax.breasts)
    return body


def _heart(grid: Grid, thorax: _Thorax) -> Map:
    """Heart and great vessels."""
    k, wide, low = thorax.heart, thorax.heart * thorax.half_width / 13, thorax.base - 4.8
    thickness: Map = np.maximum.reduce(
        [
            grid.ellipsoid((2.2 * wide, low), (7.0 * wide, 4.9 * k), 13 * k, tilt=0.6),
            grid.ellipsoid((-1.2 * wide, low - 0.8), (3.2 * wide, 4.8), 10),
            grid.ellipsoid((1.7, 10.0), (2.6, 3.6), 9),
            grid.ellipsoid((1.9 + 0.4 * thorax.bend, 6.0), (1.9, 1.7), 8),
            grid.limb((2.0, 6.5), (1.4, thorax.base), 1.4),
            grid.limb((-1.6, 3.0), (-1.5, 12.0), 1.4) * 2,
        ],
    )
    return thickness


def _airways(grid: Grid, thorax: _Thorax) -> Map:
    """Trachea and main bronchi, thickness of air."""
    fork = (0.2 + 0.3 * thorax.bend, 7.4)
    thickness: Map = np.maximum.reduce(
        [
            grid.limb((0.0, -9.0), fork, 0.85),
            grid.limb(fork, (-2.8, 10.0), 0.6),
            grid.limb(fork, (3.4, 10.6), 0.5),
        ],
    )
    return thickness


def _gas(grid: Grid, thorax: _Thorax, rng: np.random.Generator) -> Map:
    """Gas in stomach and colon, under the left dome."""
    center = (rng.uniform(4.5, 7.5), thorax.base + rng.uniform(1.8, 2.6))
    stomach = grid.ellipsoid(center, (rng.uniform(1.6, 3.6), rng.uniform(0.8, 1.8)), rng.uniform(1, 4), tilt=0.2)
    colon = 3 * np.clip(grid.texture(rng, 2.2) + 0.5 * grid.texture(rng, 0.9) - 0.9, 0, 1)
    colon = colon * grid.haze((7, thorax.base + 10), (5, 3.5))
    return (stomach + colon) * step(grid.y - thorax.dome(grid.x, 1) - 0.5, 0.3)


def _skeleton(grid: Grid, thorax: _Thorax, rng: np.random.Generator) -> Map:
    """Spine, ribs, clavicles, shoulder blades and upper arms, thickness of bone."""
    dorsal: list[Stroke] = []
    ventral: list[Stroke] = []
    girdle: list[Stroke] = []
    for side in _SIDES:
        for number in range(1, 12):
            back, front = _rib(thorax, number, side, rng.uniform(-0.15, 0.15))
            dorsal += _tube(back, rng.uniform(0.9, 1.1))
            if number < 8:  # noqa: PLR2004 - the lower ones end in cartilage
                ventral += _tube(front, rng.uniform(1.1, 1.35))
        lift = rng.uniform(0.2, 1.6)
        clavicle = [(side * (1.9 + 13.3 * t), 3.4 - lift * t + 0.6 * math.sin(6 * t)) for t in _fractions(20)]
        blade = [(side * 15.6, 3.6), (side * 11.6, 4.4), (side * (thorax.half_width + 0.2), 14), (side * 16.0, 6.0)]
        girdle += [(blade, 0.5, 0.4), *_tube(clavicle, 1.3)]
        girdle += _tube([(side * 16.8, 4.4), (side * 18.0, 9), (side * 24, 44)], 2.3)
    ribs: Map = 0.55 * grid.draw(dorsal) + 0.38 * grid.draw(ventral)
    spine = _spine(grid, lambda y: thorax.bend * math.sin(y / 8))
    return ribs + 0.7 * grid.draw(girdle, blur_cm=0.08) + spine


def _rib(thorax: _Thorax, number: int, side: int, shift: float) -> tuple[list[Point], list[Point]]:
    """The dorsal and the ventral arc of a rib, together a slanting loop round the lung."""
    start = 2.15 * number - 0.9 + shift
    reach = float(thorax.outer_border(np.array(start + 1.8))) + 0.5 if number > 1 else 6.2
    fall, run = 1.6 + 0.33 * number, 1.2 + 0.35 * number
    dorsal, ventral = [], []
    for t in _fractions(24):
        s, c = math.sin(t * math.pi / 2), math.cos(t * math.pi / 2)
        dorsal.append((side * (1.8 + (reach - 1.8) * s), start - 1.6 * s * c + fall * t**2))
        ventral.append((side * (reach - 0.6 * (reach - 1.8) * (1 - c)), start + fall + run * s))
    return dorsal, ventral


def _spine(grid: Grid, x_of: Callable[[float], float], *, facing: bool = True) -> Map:
    """Vertebral bodies with brighter end plates, and what shows of the arches when seen from the front."""
    bodies: list[Stroke] = []
    arches: list[Stroke] = []
    y, height = -8.6, 1.5
    while y < _FEET_CM:
        x, half = x_of(y), 1.15 + 0.025 * (y + 8)
        bodies.append(([(x - half, y), (x + half, y)], height * 0.86, 1.0))
        bodies.append(([(x - 0.9 * half, y), (x + 0.9 * half, y)], height * 0.66, 0.86))
        if facing:
            arches += [([(x + s * half * 0.6, y - 0.3), (x + s * half * 0.6, y + 0.2)], 0.5, 1.0) for s in _SIDES]
            arches.append(([(x, y + 0.2), (x, y + 0.8)], 0.4, 0.8))
        y += height + 0.25
        height = min(2.9, height * 1.045)
    return 0.9 * grid.draw(bodies, blur_cm=0.18) + 0.35 * grid.draw(arches, blur_cm=0.12)


def _tube(points: Sequence[Point], width: float) -> list[Stroke]:
    """A hollow bone: bright edges, a darker marrow."""
    return [(points, width, 1.0), (points, 0.7 * width, 0.6)]


def _vessels(rng: np.random.Generator) -> list[Stroke]:
    """Pulmonary vessels branching from the hila, thin ones first."""
    strokes: list[Stroke] = []
    for side in _SIDES:
        hilum = (side * 3.0, 11.0 if side < 0 else 10.2)
        for angle in np.linspace(-1.35, 1.45, 11):
            turn = float(angle) + rng.uniform(-0.12, 0.12)
            strokes += _branch(rng, hilum, turn=turn, width=rng.uniform(0.55, 0.85), side=side)
        strokes.append(([hilum, (side * 4.0, hilum[1] + 3.2)], 1.3, 0.9))
        strokes.append(([(side * 2.6, hilum[1] - 1), (side * 3.6, hilum[1] + 0.5)], 1.6, 0.8))
    return sorted(strokes, key=lambda stroke: stroke[1])


def _branch(rng: np.random.Generator, start: Point, *, turn: float, width: float, side: int) -> Iterator[Stroke]:
    """One vessel and all that spring from it; turn 0 is outward, positive downward, in radians."""
    x, y = start
    points = [start]
    for _ in range(4):
        turn += rng.normal(0, 0.12)
        length = rng.uniform(0.35, 0.75) * (0.55 + width / 1.7)
        x, y = x + side * length * math.cos(turn), y + length * math.sin(turn)
        points.append((x, y))
    yield points, 0.75 * width, min(1.0, 1.15 * width)
    if width > 0.1:  # noqa: PLR2004 - finer ones do not show
        for fork in (rng.uniform(-0.6, -0.1), rng.uniform(0.1, 0.6)):
            yield from _branch(rng, (x, y), turn=turn + fork, width=width * rng.uniform(0.62, 0.74), side=side)


def _lateral(grid: Grid, thorax: _Thorax, rng: np.random.Generator) -> Map:
    """Attenuation of a chest seen from the left, front to the left of the film."""
    x, y = grid.x, grid.y
    back = _behind(y)
    rise = np.clip((17 - y) / 16.6, 0, 1)
    front = back - 2.0 - (thorax.depth + 0.5) * root(1 - rise**2)
    middle, half = (back + front) / 2, (back - front) / 2
    cavity = 17 * root(1 - np.clip(np.abs(x - middle) / half, 0, 1) ** 3) * root(1 - rise**4)
    dome = thorax.base + 0.028 * (x + 3) ** 2 + 0.008 * np.abs(x + 3) * (x + 3)
    lung = cavity * (0.55 * step(dome - y, 0.15) + 0.45 * step(dome - thorax.base_step - y, 0.15))
    heart = grid.ellipsoid((-4.2, thorax.base - 3.4), (6.2, 4.9), 9, tilt=0.75)
    arch = np.maximum(grid.ellipsoid((0.6, 6.5), (2.6, 2.0), 4), grid.limb((3.0, 7), (4.6, 30), 1.3))
    lung = np.maximum(0, lung - heart - arch)
    trunk = 31 * root(1 - np.clip(np.abs(x - middle) / (half + 3.2 + thorax.fat), 0, 1) ** 2.4)
    body = np.maximum(trunk * step(y + 3, 7), grid.limb((1.5, -9), (2.5, 3), 5.2))
    body = np.maximum(body, grid.limb((0.5, 4), (-9.5, -7), 4.2))
    airway = grid.limb((0.0, -6), (1.6, 8.5), 0.85)
    ribs = [
        ([(8.4 - 15 * t + shift, 2.4 * number - 3 + 9 * t**1.4 + 0.6 * shift) for t in _fractions(16)], 0.9, 0.7)
        for number in range(1, 11)
        for shift in (0.0, rng.uniform(0.5, 0.9))
    ]
    sternum = [(float(np.interp(at, y[:, 0], front[:, 0])) - 0.7, at) for at in range(4, 20)]
    bone = 0.3 * grid.draw(ribs) + 1.0 * grid.draw([(sternum, 0.9, 1.0)])
    bone = bone + 1.6 * _spine(grid, lambda at: float(_behind(np.array(at))) - 1.2, facing=False)
    density = _LUNG * (1 + 0.05 * grid.texture(rng, 0.6) + 0.06 * grid.texture(rng, 0.25))
    hila = 0.12 * grid.haze((0.8, 11), (1.6, 2.2)) * (1 + 0.5 * grid.texture(rng, 0.7))
    vessels = 0.15 * grid.draw(_vessels(rng)) * step(lung - 1, 3)
    attenuation: Map = _SOFT * np.maximum(0, body - lung - airway) + density * lung + _BONE * bone + hila + vessels
    return 0.72 * attenuation  # a lateral is taken with a harder beam


def _behind(y: Map) -> Map:
    """How far back the chest reaches in a lateral film: the curve of the spine."""
    return 8.6 - 0.009 * (y - 12) ** 2 + 0.004 * np.abs(y - 12) * (y - 12)


def _expose(attenuation: Map, rng: np.random.Generator, *, rows: int, columns: int) -> npt.NDArray[np.uint16]:
    """Beer-Lambert, scatter, quantum noise, a detector that answers with the logarithm, and tone compression."""
    margin = max(1, max(attenuation.shape) // 20)
    shift = (int(rng.uniform(-0.3, 0.3) * margin), int(rng.uniform(-0.3, 0.3) * margin))
    padded = Image.fromarray(np.pad(attenuation.astype(np.float32), margin, mode="edge"))
    tilted = np.asarray(padded.rotate(rng.uniform(-2, 2), Image.Resampling.BILINEAR, translate=shift))
    attenuation = tilted[margin:-margin, margin:-margin]
    coarse = resize(resize(attenuation, (12, 12)), attenuation.shape)
    fine = attenuation - resize(resize(attenuation, (150, 150)), attenuation.shape)
    full = resize(attenuation - 0.35 * (coarse - 3) + 0.6 * fine, (rows, columns))
    intensity = np.exp(-np.maximum(full, 0)) + np.float32(_SCATTER)
    photons = _PHOTONS * pixel_spacing_mm(rows, columns) ** 2 * rng.uniform(0.6, 1.6)
    noise = rng.standard_normal((rows, columns), np.float32)
    intensity += noise * np.sqrt(intensity / np.float32(photons))
    signal = -np.log(np.maximum(intensity, np.float32(1e-4)))
    return np.clip(signal * np.float32(4095 / 4.6), 0, 4095).astype(np.uint16)


def _fractions(count: int) -> Iterator[float]:
    return (i / (count - 1) for i in range(count))
