"""How steady a network's scores are: the same film changed a little, and films of another hospital.

    python -m models.training.robust --weights DIR --manifest FILE [FILE] [--elsewhere DIR]

Films pass the product's own reading and scoring. A change is one that tells nothing of the patient, so the urgent
probability ought to stay.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from rich.console import Console
from rich.progress import track

from imaging.radiograph import Radiograph, read_radiograph
from imaging.wrapping import chest_dx, complete_file_meta
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import GatedScorer
from models.training.judge import load_film, read_manifests
from worklist.errors import FirstreadError, InvalidInput, UnusableImage
from worklist.uids import derived_uid

_LOG = logging.getLogger(__name__)

Greys = NDArray[np.float32]

_SHARP_PX = 256
_ROTATION_DEG = 5
_CROP = 0.05  # of each side's length, half on either side
_JPEG_QUALITY = 80
_MARKER = 0.06  # of the width
_ANALYSED = ("*.jpg", "*.jpeg", "*.png", "*.dcm")


@dataclass(frozen=True, kw_only=True, slots=True)
class Steadiness:
    """Absolute change of the urgent probability by one change of the films.

    Attributes:
        change: what was done to them.
        mean: over the films.
        p95: 95th percentile.
        flipped: share of films that are called otherwise than before.
    """

    change: str
    mean: float
    p95: float
    flipped: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """What becomes of films of another hospital, as shares of them.

    Attributes:
        films: how many.
        refused: by the gates.
        urgent: called so.
        boxed: with a box of any finding.
        reached: findings at or above their threshold, by finding.
    """

    films: int
    refused: float
    urgent: float
    boxed: float
    reached: Mapping[str, float]


def _image(pixels: Greys) -> Image.Image:
    return Image.fromarray(np.rint(pixels * 255).astype(np.uint8))


def _greys(image: Image.Image) -> Greys:
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def _jpeg(pixels: Greys) -> Greys:
    file = io.BytesIO()
    _image(pixels).save(file, "JPEG", quality=_JPEG_QUALITY)
    return _greys(Image.open(file))


def _rotate(angle: float) -> Callable[[Greys], Greys]:
    def turned(pixels: Greys) -> Greys:
        image = Image.fromarray(pixels)
        return np.asarray(image.rotate(angle, Image.Resampling.BILINEAR, fillcolor=float(np.median(pixels[0]))))

    return turned


def _crop(pixels: Greys) -> Greys:
    rows, columns = (round(side * _CROP / 2) for side in pixels.shape)
    return np.ascontiguousarray(pixels[rows : len(pixels) - rows, columns : pixels.shape[1] - columns])


def _mark(letter: str, x: float) -> Callable[[Greys], Greys]:
    def marked(pixels: Greys) -> Greys:
        image, size = _image(pixels), max(8, round(_MARKER * pixels.shape[1]))
        ImageDraw.Draw(image).text((round(x * pixels.shape[1]), size), letter, fill=255, font_size=size)
        return _greys(image)

    return marked


CHANGES: Mapping[str, Callable[[Greys], Greys]] = {
    "3 % brighter": lambda pixels: np.minimum(pixels + np.float32(0.03), 1),
    "3 % darker": lambda pixels: np.maximum(pixels - np.float32(0.03), 0),
    "gamma 0.8": lambda pixels: pixels ** np.float32(0.8),
    "gamma 1.25": lambda pixels: pixels ** np.float32(1.25),
    "JPEG 80": _jpeg,
    "5 degrees to the left": _rotate(_ROTATION_DEG),
    "5 degrees to the right": _rotate(-_ROTATION_DEG),
    "5 % cropped": _crop,
    "L marker burned in": _mark("L", 0.88),
    "R marker burned in": _mark("R", 0.06),
}


def _sixteen_bits(film: Radiograph) -> Radiograph:
    """The film as a DX object of 16 bits, read again."""
    greys = np.rint(film.pixels * 65535).astype(np.uint16)
    dataset = chest_dx(greys, bits_stored=16)
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(dataset, keyword, derived_uid(film.image.sop_instance_uid, keyword))
    complete_file_meta(dataset)
    return read_radiograph(dataset)


def steadiness(weights: Path, films: Sequence[Radiograph]) -> list[Steadiness]:
    """How the urgent probability moves by each change."""
    scorer = EmbeddedScorer(weights)
    changed: Mapping[str, Callable[[Radiograph], Radiograph]] = {
        **{name: _on_pixels(change) for name, change in CHANGES.items()},
        "16 bits in place of 8": _sixteen_bits,
    }
    plain = [scorer.score(film) for film in films]
    found = []
    for name, change in track(changed.items(), "changing films", console=Console(stderr=True), transient=True):
        after = [scorer.score(change(film)) for film in films]
        moved = np.array([abs(one.score - other.score) for one, other in zip(plain, after, strict=True)])
        flips = [one.is_urgent is not other.is_urgent for one, other in zip(plain, after, strict=True)]
        found.append(
            Steadiness(
                change=name,
                mean=float(moved.mean()),
                p95=float(np.percentile(moved, 95)),
                flipped=float(np.mean(flips)),
            )
        )
    return found


def _on_pixels(change: Callable[[Greys], Greys]) -> Callable[[Radiograph], Radiograph]:
    def changed(film: Radiograph) -> Radiograph:
        pixels = np.ascontiguousarray(change(film.pixels), dtype=np.float32)
        image = replace(film.image, rows=pixels.shape[0], columns=pixels.shape[1])
        return replace(film, image=image, pixels=pixels)

    return changed


def elsewhere(weights: Path, folder: Path) -> Elsewhere:
    """What the gates and the network say of every film in a folder.

    Raises:
        InvalidInput: there is no film.
    """
    files = sorted(file for pattern in _ANALYSED for file in folder.glob(pattern))
    if not files:
        raise InvalidInput("no_films", f"{folder} holds no film")
    scorer = GatedScorer(EmbeddedScorer(weights))
    scored = []
    for file in track(files, "scoring", console=Console(stderr=True), transient=True):
        try:
            scored.append(scorer.score(load_film(folder, file.name)))
        except UnusableImage:
            continue
    findings = [found for analysis in scored for found in analysis.findings]
    return Elsewhere(
        films=len(files),
        refused=1 - len(scored) / len(files),
        urgent=sum(analysis.is_urgent for analysis in scored) / len(files),
        boxed=sum(any(found.region for found in analysis.findings) for analysis in scored) / len(files),
        reached={
            kind.key: sum(found.is_positive for found in findings if found.type == kind) / len(files)
            for kind in dict.fromkeys(found.type for found in findings)
        },
    )


def write(*, weights: Path, manifest: Sequence[Path], other: Path | None = None) -> str:
    """Both tables in Markdown, of the sharp validation films of manifests and of the films in a folder.

    Raises:
        InvalidInput: a file cannot be used.
        ModelUnavailable: as EmbeddedScorer.
    """
    folder = Path(os.path.commonpath([each.resolve().parent for each in manifest]))
    listed = [film for film in read_manifests(manifest, folder) if film.split == "val"]
    films = [load_film(folder, film.label.file) for film in listed]
    sharp = [film for film in films if max(film.image.rows, film.image.columns) > _SHARP_PX]
    lines = [f"| {len(sharp)} films, change | Mean change of urgent | 95th percentile | Called otherwise |"]
    lines.append("|---|---|---|---|")
    lines += [
        f"| {each.change} | {each.mean:.4f} | {each.p95:.4f} | {each.flipped:.3f} |"
        for each in steadiness(weights, sharp)
    ]
    if other:
        found = elsewhere(weights, other)
        lines += ["", f"| {found.films} films of another hospital | Share |", "|---|---|"]
        shares = {"refused": found.refused, "called urgent": found.urgent, "with a box": found.boxed}
        reached = {f"at its threshold: {key.replace('_', ' ')}": share for key, share in found.reached.items()}
        lines += [f"| {name} | {share:.3f} |" for name, share in {**shares, **reached}.items()]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 where the input cannot be used, 1 where the model cannot."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    _LOG.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(
        prog="python -m models.training.robust", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--weights", type=Path, required=True, help="folder of embedded.onnx and its JSON")
    parser.add_argument("--manifest", type=Path, required=True, nargs="+", help="CSVs, files as seen from their folder")
    parser.add_argument("--elsewhere", type=Path, dest="other", help="folder of films of another hospital")
    try:
        table = write(**vars(parser.parse_args(arguments)))
    except FirstreadError as error:
        _LOG.error("%s", error.message)
        return 2 if isinstance(error, InvalidInput) else 1
    _LOG.info("%s", table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
