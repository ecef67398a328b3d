"""From a map of evidence to the box around it, on the film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from imaging.geometry import SquareGeometry
from imaging.radiograph import Radiograph
from models.steps import Steps
from worklist.finding import IN_A_LUNG, Finding, Region
from worklist.step import StepName, StepVerdict
from worklist.words import counted

_MOST_REGIONS: Final = 3
_OUTLINED_PARTS = 96  # along the longer side of a map, about: finer ones would cost time and show nothing more
# Chosen on the hand-drawn boxes of ChestX-ray14 (Wang et al., CVPR 2017) with an earlier network; how the boxes of the
# shipped one point is measured in models/cards/embedded.md.
_OUTLINE_LEVEL = 0.6  # of the way from the film's median evidence to its peak
_LEAST_PEAK = 1.5  # calibrated log odds by which the peak must stand above the median
_DIFFUSE_SHARE = 0.3  # of the film: evidence spread wider than this points nowhere


def localize(
    findings: Sequence[Finding],
    evidence_of: Callable[[Finding], npt.NDArray[np.float32] | None],
    geometry: SquareGeometry,
    *,
    radiograph: Radiograph,
    steps: Steps,
) -> tuple[Finding, ...]:
    """The findings, the first three that have a place with their box, and with their side where they lie in a lung.

    Args:
        findings: most probable first; those below their threshold get no box.
        evidence_of: the map (h, w) of one of them, in calibrated log odds; None where the scorer has none to rely on.
        geometry: how the image lies in the network's square.
        radiograph: what was scored.
        steps: what takes the trace; where this step fails, the findings come back without places.
    """
    positive = [finding for finding in findings if finding.is_positive]
    placed: dict[str, Finding] = {}
    given = f"maps of evidence of {counted(len(positive), 'finding')} at the threshold"
    with steps.step(StepName.LOCALIZE, given) as outcome:
        for finding in positive:
            evidence = evidence_of(finding) if len(placed) < _MOST_REGIONS else None
            region = None if evidence is None else locate(evidence, geometry)
            if region:
                in_a_lung = finding.type in IN_A_LUNG
                side = region.side(radiograph.image.columns, radiograph.quality) if in_a_lung else None
                placed[finding.type.key] = replace(finding, region=region, side=side)
        if not positive:
            outcome.end("no finding reaches its threshold", StepVerdict.LEFT_OUT)
        elif placed:
            outcome.end(counted(len(placed), "box", "boxes"))
        else:
            outcome.end("no box: the evidence points to no place", StepVerdict.NOTHING)
    return tuple(placed.get(finding.type.key, finding) for finding in findings)


def locate(evidence: npt.NDArray[np.float32], geometry: SquareGeometry) -> Region | None:
    """The box around the evidence of one finding, in source pixels; None where it points to no place.

    The cells of the map (h, w), in calibrated log odds, that lie on the film are enlarged and outlined 60 % of the way
    from their median to their peak; the box holds the connected part around the peak. None where the peak stands out
    by less than 1.5, or where the outline covers more than 30 % of the film. The padding never counts.
    """
    height, width = evidence.shape
    parts = max(1, _OUTLINED_PARTS // max(height, width))  # of a cell, along either side
    left, top, right, bottom = geometry.to_model(0, 0, geometry.columns, geometry.rows)
    x0, x1 = _cells(left / geometry.size_px, right / geometry.size_px, width)
    y0, y1 = _cells(top / geometry.size_px, bottom / geometry.size_px, height)
    film = Image.fromarray(np.ascontiguousarray(evidence[y0:y1, x0:x1], dtype=np.float32))
    grid = ((x1 - x0) * parts, (y1 - y0) * parts)
    heat = np.asarray(film.resize(grid, Image.Resampling.BILINEAR))
    median, peak = float(np.median(heat)), float(heat.max())
    outline = heat >= median + _OUTLINE_LEVEL * (peak - median)
    if peak - median < _LEAST_PEAK or outline.mean() > _DIFFUSE_SHARE:
        return None
    part = _part_around(outline, np.unravel_index(int(heat.argmax()), heat.shape))
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    part_x, part_y = (geometry.size_px / (cells * parts) for cells in (width, height))
    first_x, first_y = x0 * parts, y0 * parts
    return geometry.region(
        (first_x + columns[0]) * part_x,
        (first_y + rows[0]) * part_y,
        (first_x + columns[-1] + 1) * part_x,
        (first_y + rows[-1] + 1) * part_y,
    )


def _cells(low: float, high: float, count: int) -> tuple[int, int]:
    """The range of `count` cells, at least one, whose centers lie between two shares of their common length."""
    first = min(round(low * count), count - 1)
    return first, max(round(high * count), first + 1)


def _part_around(mask: npt.NDArray[np.bool_], seed: tuple[Any, ...]) -> npt.NDArray[np.bool_]:
    """The 4-connected part of a mask that holds the seed."""
    part = np.zeros_like(mask)
    part[seed] = True
    size = 0
    while size != (size := int(part.sum())):
        grown = part.copy()
        grown[1:] |= part[:-1]
        grown[:-1] |= part[1:]
        grown[:, 1:] |= part[:, :-1]
        grown[:, :-1] |= part[:, 1:]
        part = grown & mask
    return part
