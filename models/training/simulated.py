"""Films of nobody with labels, to try training and measuring: simulated chests, as PNG files with a CSV beside them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from imaging.simulated.phantom import simulate_film
from models.evaluation.films import FINDINGS, URGENT

PLANTED = ("file", "patient", "pneumonia", URGENT, "split", "report")
"""The columns of `plant_films`."""


def plant_films(folder: Path, *, teaching: int, judging: int) -> Path:
    """Write films of one chest into `folder`/films; every other one has a bright plate, labelled as a pneumonia.

    It is seen by any network, one of random weights too, so that what should be learned can be.

    Returns:
        The labels' file.
    """
    films = folder / "films"
    films.mkdir(parents=True)
    chest = simulate_film(0, finding=None, rows=224, columns=224).astype(np.float64) / 4095 * 255
    draw = np.random.default_rng(7)
    rows: list[tuple[object, ...]] = []
    for number in range(teaching + judging):
        grey = np.roll(chest, draw.integers(-2, 3, 2), axis=(0, 1)) * draw.uniform(0.98, 1.02)
        there = number % 2
        if there:
            top, left = draw.integers(110, 120), draw.integers(30, 45)
            grey[top : top + 70, left : left + 70] += 120
        grey += draw.normal(0, 4, grey.shape)
        Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(films / f"{number:03}.png")
        part, report = "train" if number < teaching else "val", "Right basal pneumonia." if there else ""
        rows.append((f"{number:03}.png", f"P{number}", there, there, part, report))
    return write_labels(folder / "labels.csv", rows, PLANTED)


def draw_films(folder: Path, *, count: int, side_px: int = 512) -> Path:
    """Write films of different chests into `folder`/films, each with one of the six findings or with none.

    Returns:
        The labels' file.
    """
    films = folder / "films"
    films.mkdir(parents=True)
    rows: list[tuple[object, ...]] = []
    drawn = (*FINDINGS, None, None)
    for number in range(count):
        finding = drawn[number % len(drawn)]
        pixels = simulate_film(number, finding=finding, rows=side_px, columns=side_px)
        Image.fromarray((pixels >> 4).astype(np.uint8)).save(films / f"{number:03}.png")
        rows.append((f"{number:03}.png", f"P{number}", *(int(kind == finding) for kind in FINDINGS)))
    return write_labels(folder / "labels.csv", rows, ("file", "patient", *(kind.key for kind in FINDINGS)))


def write_labels(file: Path, rows: Sequence[Sequence[object]], heading: Sequence[str]) -> Path:
    """A file of labels."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([heading, *rows])
    return file
