"""A site's films and labels: which films teach and which judge, and the features of each, kept on the disk.

A film is looked at as the product looks at it: by its header, through the gates, upright. What the product would not
score teaches nothing. Features are kept by the digests of film, network and gates, so that a run that was stopped, by a
full disk for instance, goes on where it was.
"""

from __future__ import annotations

import errno
import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from imaging.files import open_study_files, opened, read_image
from imaging.headers import scope_texts
from imaging.radiograph import Radiograph, read_radiograph
from models.evaluation.films import Label
from models.evaluation.held_out import is_held_out
from models.evaluation.intervals import Flags
from models.evaluation.labels import read_labels
from models.evaluation.matching import LabelsByName
from models.evaluation.measure import OUTPUTS
from models.evaluation.tables import FILM_COLUMNS, read_rows
from models.gates.scorer import Gates
from worklist.errors import InvalidInput, OutOfScope, PermanentError, UnusableImage
from worklist.media import HEAD_BYTES, ImageFormat, image_format
from worklist.scope import ScopeRules, assess_scope

_SPLITS = ("train", "val")
_IDENTIFIERS = ("StudyInstanceUID", "AccessionNumber", "SOPInstanceUID")
_FULL = {errno.ENOSPC, errno.EDQUOT}

Looked = TypeVar("Looked")
Look = Callable[[bytes, Callable[[], Dataset], Gates], Looked]
"""What is made of a film: of its file, of what reads it, and of the gates, which may refuse it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """A film that has a label.

    Attributes:
        file: where it lies.
        label: what is true of it.
        patient: whose it is.
        judges: whether its patient is held out, to judge and not to teach.
    """

    file: Path
    label: Label
    patient: str
    judges: bool


@dataclass(frozen=True, kw_only=True, eq=False)
class Usable(Generic[Looked]):
    """The films that can be used, and how many could not.

    Attributes:
        listed: one film each, in the order of their files.
        looked: what was made of each.
        refused: how many labelled films would not be scored, by the code of the reason.
        without_label: how many files have no label.
        without_film: labels for which there is no film.
    """

    listed: Sequence[Listed]
    looked: Sequence[Looked]
    refused: Counter[str]
    without_label: int
    without_film: Sequence[str]


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteFilms(Usable[npt.NDArray[np.float32]]):
    """The same with features and labels as tables.

    Attributes:
        features: float32 (N, D), of what computes them.
        truth: float64 (N, 7), 1 or 0 in the order of OUTPUTS; NaN where it is not known.
    """

    features: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float64]

    @property
    def judges(self) -> Flags:
        """Which films (N,) judge."""
        return np.array([film.judges for film in self.listed])

    @property
    def patient(self) -> npt.NDArray[np.int64]:
        """Whose each film (N,) is."""
        return np.unique([film.patient for film in self.listed], return_inverse=True)[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureStore:
    """Features of films, computed once.

    Attributes:
        folder: where they are kept, a file a film.
        of_film: computes those of a film that lies upright.
    """

    folder: Path
    of_film: Callable[[Radiograph], npt.NDArray[np.float32]]

    def features(self, content: bytes, read: Callable[[], Dataset], gates: Gates) -> npt.NDArray[np.float32]:
        """The features (D,) of a film.

        Args:
            content: the film's file.
            read: gives its dataset, where nothing is kept of it.
            gates: what may refuse it.

        Raises:
            UnusableImage: as the gates, or it cannot be read.
            PermanentError: disk_full, or the folder cannot be written.
        """
        file = self.folder / f"{hashlib.sha256(gates.sha256.encode() + content).hexdigest()}.npy"
        try:
            return np.asarray(np.load(file, allow_pickle=False), dtype=np.float32)
        except (OSError, ValueError, EOFError):
            pass  # not kept yet, or written when the machine went down
        found = self.of_film(gates.check(read_radiograph(read())).radiograph)
        stream = io.BytesIO()
        np.save(stream, found)
        write(file, stream.getvalue())
        return found


def write(file: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        PermanentError: disk_full; folder_not_writable.
    """
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(content)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in _FULL:
            raise PermanentError(
                "disk_full",
                f"the disk of {file.parent} is full: free some space and run the same command again, it goes on from "
                "here",
            ) from error
        raise PermanentError(
            "folder_not_writable", f"{file.parent} cannot be written ({error.strerror}): name another folder"
        ) from error


def read_site(
    films: Path, labels: Path, store: FeatureStore, scope: ScopeRules, shown: Callable[[Sequence[Path]], Iterable[Path]]
) -> SiteFilms:
    """The labelled films in a folder with their features, which a store keeps; else as `read_usable`."""
    usable = read_usable(films, labels, store.features, scope, shown)
    truth = [[film.label.truth.get(key, np.nan) for key in OUTPUTS] for film in usable.listed]
    return SiteFilms(**vars(usable), features=np.stack(usable.looked), truth=np.array(truth, np.float64))


def read_usable(
    films: Path, labels: Path, look: Look[Looked], scope: ScopeRules, shown: Callable[[Sequence[Path]], Iterable[Path]]
) -> Usable[Looked]:
    """The labelled films in a folder.

    Args:
        films: the folder.
        labels: CSV or JSON as `read_labels` takes it; with a column `split` (train or val) where the site itself says
            which films judge, else a fifth of the patients is held out, by what they are called.
        look: makes of a film what is wanted; a film that it refuses (UnusableImage, InvalidInput) is counted.
        scope: which images are looked at.
        shown: passes the files on, and shows how far it has come.

    Raises:
        InvalidInput: one of the two cannot be used, or they do not fit each other; the message says how.
        PermanentError: the disk is full.
    """
    known = LabelsByName(read_labels(labels))
    splits = _splits(labels)
    files = list(open_study_files([films]))
    if not files:
        raise InvalidInput("no_films", f"{films} holds no DICOM, PNG or JPEG file: name the folder of the films")
    gates, refused = Gates(), Counter[str]()
    found: dict[str, tuple[Listed, Looked]] = {}  # by the digest of the file
    of_label: dict[str, Path] = {}
    without_label = labelled = 0
    for file in shown(files):
        try:
            film = _look(file, known, scope)
        except (OutOfScope, InvalidInput) as error:
            refused[error.code] += 1
            labelled += isinstance(error, OutOfScope)
            continue
        if film is None:
            without_label += 1
            continue
        labelled += 1
        digest = hashlib.sha256(film.content).hexdigest()
        if digest in found:
            continue  # the same file under another name
        if film.is_by_name and film.label.file in of_label:
            raise InvalidInput(
                "ambiguous_film",
                f"{of_label[film.label.file]} and {file} both match {film.label.file} of {labels}: name the film more "
                "exactly there",
            )
        of_label[film.label.file] = file
        patient = film.patient_in(labels)
        try:
            made = look(film.content, film.read, gates)
        except (UnusableImage, InvalidInput) as error:
            refused[error.code] += 1
            continue
        judges = splits[film.label.file] == "val" if splits else is_held_out(patient)
        listed = Listed(file=file, label=film.label, patient=patient, judges=judges)
        found[digest] = listed, made
    if not found:
        raise _nothing(films, labels, known, refused if labelled else Counter(), len(files))
    usable = [listed for listed, _ in found.values()]
    _require_apart(usable, labels)
    return Usable(
        listed=usable,
        looked=[made for _, made in found.values()],
        refused=refused,
        without_label=without_label,
        without_film=sorted(set(known.files) - set(of_label)),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Film:
    """A labelled film's file, and what is read of its header."""

    file: Path
    label: Label
    content: bytes
    dataset: Dataset | None
    is_by_name: bool

    def read(self) -> Dataset:
        return _read(self.content, self.file)

    def patient_in(self, labels: Path) -> str:
        """Whose film it is, by the labels or else by its header.

        Raises:
            InvalidInput: missing_patient, neither says so.
        """
        patient = self.label.patient or str((self.dataset and self.dataset.get("PatientID")) or "").strip()
        if not patient:
            raise InvalidInput(
                "missing_patient",
                f"{self.file} has no Patient ID, and {labels} no column patient: add it, since films of one patient "
                "must not both teach and judge",
            )
        return patient


def _look(file: Path, known: LabelsByName, scope: ScopeRules) -> _Film | None:
    """A film with its label; None where it has none.

    Raises:
        OutOfScope: by its header.
        InvalidInput: it is no image, or a broken one.
    """
    with opened(file) as stream:
        content = stream.read()
    dataset = None
    identifiers: list[str] = []
    kind = image_format(content[:HEAD_BYTES])
    if kind is None or kind is ImageFormat.DICOM:
        dataset = read_image(io.BytesIO(content), str(file), header_only=True)
        identifiers = [text for word in _IDENTIFIERS if (text := str(dataset.get(word) or "").strip())]
    label = known.of(str(file), identifiers)
    if label is None:
        return None
    if dataset is not None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pydicom's quote the header
            if failure := assess_scope(scope_texts(dataset), scope):
                raise OutOfScope(failure.code, failure.message)
    is_by_name = label is known.of(str(file), ())
    return _Film(file=file, label=label, content=content, dataset=dataset, is_by_name=is_by_name)


def _read(content: bytes, file: Path) -> Dataset:
    return read_image(io.BytesIO(content), str(file))


def _splits(labels: Path) -> dict[str, str]:
    """Of each label's film, train or val; empty where the file does not say.

    Raises:
        InvalidInput: bad_split, a row says neither.
    """
    rows = read_rows(labels, {})
    if not any("split" in row for _, row in rows):
        return {}
    found = {row["file"]: str(row.get("split") or "").strip().lower() for _, row in rows}
    for where, row in rows:
        if found[row["file"]] not in _SPLITS:
            raise InvalidInput("bad_split", f"{where} has split {row.get('split')!r}: write train or val, or leave out")
    return found


def _require_apart(films: Sequence[Listed], labels: Path) -> None:
    """Refuse labels by which a patient's films both teach and judge, or nobody's do the one or the other."""
    parts = [{film.patient for film in films if film.judges is judges} for judges in (False, True)]
    if both := sorted(parts[0] & parts[1]):
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise InvalidInput(
            "shared_patient", f"patient {both[0]}{more} has films in train and in val of {labels}: split by patient"
        )
    for part, name, does in zip(parts, _SPLITS, ("teach", "judge"), strict=True):
        if not part:
            raise InvalidInput(
                "empty_split", f"no usable film of {labels} is in {name}, none to {does}: have films of more patients"
            )


def _nothing(films: Path, labels: Path, known: LabelsByName, refused: Counter[str], count: int) -> InvalidInput:
    """Why no film can be used: `refused` are labelled ones, of `count` files."""
    if refused:
        codes = ", ".join(f"{code} {number}" for code, number in refused.most_common())
        return InvalidInput(
            "nothing_in_scope", f"no labelled film in {films} can be scored ({codes}): name a folder of chest films"
        )
    return InvalidInput(
        "no_match",
        f"none of the {count} files in {films} has a label in {labels}, which names {known.files[0]}, for example: "
        f"films are matched by {FILM_COLUMNS}",
    )
