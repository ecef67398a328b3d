"""Linear probe: any encoder's embeddings in, calibrated heads for the six findings and urgency out.

A head is a logistic regression on standardized embeddings (Alain and Bengio, arXiv:1610.01644): L2-regularized, both
classes weighted alike. Its strength is chosen on train alone, by cross-validation that keeps a patient's films
together; val alone calibrates it (Platt 1999) and sets its thresholds.

    python -m models.training.probe --embeddings FILE --manifest FILE --out DIR

writes DIR/probe.npz and DIR/probe.json, whose `outputs` are those of models/embedded/weights/embedded.json.
With x (N, D):

    logits = (x - mean) / scale @ coef.T + intercept        (N, 7), in the order of `outputs`
    p = sigmoid(logit * output.scale + output.bias)
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import logging
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it comes with scikit-learn, and without types

from models.evaluation import measure
from models.evaluation.labels import read_labels
from models.evaluation.measure import OUTPUTS
from models.evaluation.tables import read_rows
from models.training.recipes import read_recipe
from worklist.errors import InvalidInput

_LOG = logging.getLogger("models.training.probe")
RECIPE = Path(__file__).with_name("probe.toml")


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeRecipe:
    """How a probe is fitted: see probe.toml."""

    strengths: Sequence[float]
    clearly: float
    folds: int
    iterations: int

    def __post_init__(self) -> None:
        """Refuse what fits nothing."""
        if not self.strengths or min(self.strengths) <= 0 or self.folds < 2 or self.iterations < 1:  # noqa: PLR2004
            raise ValueError("strengths are above 0, folds at least 2, iterations at least 1")


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Regressed:
    """The logistic regression of one output, not yet fitted, and what chose its strength.

    Attributes:
        head: it.
        ranking: AUC with whole patients held out.
        fold: (N,), the part of the patients that a film's is in.
    """

    head: LogisticRegression
    ranking: float
    fold: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Embeddings:
    """What an encoder made of films.

    Attributes:
        files: names of films as in the manifest, (N,).
        vectors: float32 (N, D).
    """

    files: Sequence[str]
    vectors: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Examples:
    """Embedded films of one split.

    Attributes:
        vectors: float32 (N, D).
        truth: float64 (N, 7) in the order of `OUTPUTS`, 1 or 0, NaN where it is not known.
        patient: (N,).
    """

    vectors: NDArray[np.float32]
    truth: NDArray[np.float64]
    patient: NDArray[np.str_]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Probe:
    """The heads, as their file holds them: float32 mean (D,), scale (D,), coef (7, D), intercept (7,)."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    coef: NDArray[np.float32]
    intercept: NDArray[np.float32]

    def logits(self, vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        """Uncalibrated logits (N, 7) of embeddings (N, D)."""
        return np.asarray((vectors - self.mean) / self.scale @ self.coef.T + self.intercept, dtype=np.float64)


def read_embeddings(path: Path) -> Embeddings:
    """Embeddings from an .npz of `files` (N,) and `embeddings` (N, D), or from an .npy beside a .txt of N names.

    Raises:
        InvalidInput: the file cannot be read, or does not hold one finite vector for each of N different films.
    """
    try:
        if path.suffix == ".npy":
            vectors = np.load(path, allow_pickle=False)
            files = path.with_suffix(".txt").read_text(encoding="utf-8").splitlines()
        else:
            with np.load(path, allow_pickle=False) as arrays:
                vectors, files = arrays["embeddings"], arrays["files"].astype(str).tolist()
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidInput(
            "bad_embeddings",
            f"{path} gives no embeddings ({error}): write .npz with files and embeddings, or .npy beside .txt",
        ) from error
    if vectors.ndim != 2 or not vectors.size or len(vectors) != len(files):  # noqa: PLR2004 - films, numbers
        raise InvalidInput("bad_shape", f"{path} has embeddings {vectors.shape} for {len(files)} names: write (N, D)")
    if not np.issubdtype(vectors.dtype, np.number) or not np.isfinite(vectors).all():
        raise InvalidInput("not_finite", f"{path} has embeddings that are no finite numbers: embed those films again")
    if len(set(files)) < len(files):
        raise InvalidInput("duplicate_film", f"{path} names a film twice: leave one embedding a film")
    return Embeddings(files=files, vectors=vectors.astype(np.float32))


def read_examples(
    embeddings: Embeddings, manifest: Path, leave_out: Sequence[tuple[str, str]] = ()
) -> dict[str, Examples]:
    """The embedded films of `train` and of `val`, with the manifest's labels.

    Args:
        embeddings: of all films of the manifest, or of some.
        manifest: CSV with columns file, split, patient, and the findings as models.evaluation.labels reads them.
        leave_out: pairs of an output and of a word in the column `source`: training films of that source do not teach
            that output. For collections whose films were chosen by their label, which teach the collection instead.

    Raises:
        InvalidInput: the manifest lacks a column or an embedded film, a pair fits nothing, a split is empty, or
            a patient is in both.
    """
    rows = {row["file"]: row for _, row in read_rows(manifest, {})}
    if lacking := [name for name in ("split", "patient") if any(name not in row for row in rows.values())]:
        raise InvalidInput("missing_column", f"{manifest} has no column {lacking[0]}: add it")
    if strangers := [file for file in embeddings.files if file not in rows]:
        raise InvalidInput(
            "missing_row",
            f"{manifest} has no row for {strangers[0]} and {len(strangers) - 1} more embedded films: name films alike",
        )
    labels = {label.file: label for label in read_labels(manifest)}
    truth = np.array([[labels[file].truth.get(key, np.nan) for key in OUTPUTS] for file in embeddings.files], float)
    split = np.array([rows[file]["split"] for file in embeddings.files])
    for key, source in leave_out:
        of_source = np.array([source in rows[file].get("source", "") for file in embeddings.files])
        if key not in OUTPUTS or not of_source.any():
            raise InvalidInput(
                "bad_leave_out", f"no film has a source {source!r} for {key!r}: outputs are {', '.join(OUTPUTS)}"
            )
        truth[of_source & (split == "train"), OUTPUTS.index(key)] = np.nan
    patient = np.array([rows[file]["patient"] for file in embeddings.files])
    if shared := sorted(set(patient[split == "train"]) & set(patient[split == "val"])):
        raise InvalidInput(
            "shared_patient", f"patient {shared[0]} and {len(shared) - 1} more are in train and in val: split again"
        )
    examples = {}
    for name in ("train", "val"):
        chosen = split == name
        if not chosen.any():
            raise InvalidInput("empty_split", f"no embedded film is of split {name} in {manifest}: embed both splits")
        examples[name] = Examples(vectors=embeddings.vectors[chosen], truth=truth[chosen], patient=patient[chosen])
    return examples


def fit(train: Examples, seed: int = 0) -> tuple[Probe, list[dict[str, float]]]:
    """The heads, and for each its strength (scikit-learn's C) and the cross-validated AUC that chose it.

    Raises:
        InvalidInput: class_absent, an output has too few patients of a class.
    """
    recipe = read_recipe(RECIPE, ProbeRecipe)
    mean, scale = standard(train.vectors)
    scaled = (train.vectors - mean) / scale
    heads, choices = [], []
    for number, key in enumerate(OUTPUTS):
        known = ~np.isnan(train.truth[:, number])
        # More threads would fight for the cores over matrices this small, and change the sums.
        with threadpool_limits(limits=1):
            truth = train.truth[known, number]
            chosen = regress(scaled[known], truth, train.patient[known], key, recipe, seed=seed)
            head = chosen.head.fit(scaled[known], truth > 0)
        _LOG.info("%s: C %g, cross-validated AUC %.3f", key, head.C, chosen.ranking)
        heads.append(head)
        choices.append({"strength": float(head.C), "auc_cross_validated": round(chosen.ranking, 4)})
    probe = Probe(
        mean=mean,
        scale=scale,
        coef=np.concatenate([head.coef_ for head in heads]).astype(np.float32),
        intercept=np.concatenate([head.intercept_ for head in heads]).astype(np.float32),
    )
    return probe, choices


def judge(probe: Probe, val: Examples) -> list[dict[str, Any]]:
    """For each head its calibration, thresholds and figures on val, as in `outputs` of embedded.json.

    Raises:
        InvalidInput: class_absent, val lacks a class of an output.
    """
    logits = probe.logits(val.vectors)
    return [_output(key, val.truth[:, number], logits[:, number], val.patient) for number, key in enumerate(OUTPUTS)]


def packed(probe: Probe) -> bytes:
    """The arrays as probe.npz holds them."""
    stream = io.BytesIO()
    np.savez(stream, **asdict(probe))
    return stream.getvalue()


def describe_probe(probe: Probe, arrays: bytes, facts: Mapping[str, Any]) -> str:
    """probe.json: the digest of the arrays, what they are, and what else is known."""
    digest = hashlib.sha256(arrays).hexdigest()
    document = {"name": "firstread-probe", "sha256": digest, "embedding_length": len(probe.mean), **facts}
    return json.dumps(document, indent=2) + "\n"


def write(probe: Probe, facts: Mapping[str, Any], out: Path) -> None:
    """Write probe.npz and, with its digest, probe.json into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    arrays = packed(probe)
    (out / "probe.npz").write_bytes(arrays)
    (out / "probe.json").write_text(describe_probe(probe, arrays, facts), encoding="utf-8")


def standard(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and deviation (D,) of embeddings (N, D), by which they are standardized."""
    scaler = StandardScaler().fit(vectors.astype(np.float64))
    return scaler.mean_.astype(np.float32), scaler.scale_.astype(np.float32)


def regress(  # noqa: PLR0913 - what an output is fitted on
    scaled: NDArray[np.float32],
    truth: NDArray[np.float64],
    patient: NDArray[np.str_],
    key: str,
    recipe: ProbeRecipe,
    *,
    seed: int = 0,
) -> Regressed:
    """The logistic regression of one output, with the strength that ranks patients held out best.

    Args:
        scaled: standardized embeddings (N, D).
        truth: (N,), 1 or 0.
        patient: (N,).
        key: the output's.
        recipe: how it is fitted.
        seed: of the folds.

    Raises:
        InvalidInput: class_absent, it has too few patients of a class.
    """
    names, number = np.unique(patient, return_inverse=True)
    positive = np.bincount(number, weights=truth, minlength=len(names)) > 0
    if min(positive.sum(), (~positive).sum()) < recipe.folds:
        raise InvalidInput(
            "class_absent",
            f"train has {positive.sum()} patients with {key} and {(~positive).sum()} without: have {recipe.folds} of "
            "each",
        )
    shuffled = np.random.default_rng(seed).permutation(len(names))
    # Dealt in turn, those with the finding first: each fold gets its share of them.
    dealt = shuffled[np.argsort(~positive[shuffled], kind="stable")]
    fold = np.empty(len(names), np.int64)
    fold[dealt] = np.arange(len(names)) % recipe.folds
    folds, labels = PredefinedSplit(fold[number]), truth > 0
    strength, ranking = 0.0, 0.0
    for weaker in recipe.strengths:
        tried = float(cross_val_score(_regression(weaker, recipe), scaled, labels, scoring="roc_auc", cv=folds).mean())
        if tried < ranking - recipe.clearly:
            break  # weaker still overfits more, and takes the longest
        if tried > ranking:
            strength, ranking = weaker, tried
    return Regressed(head=_regression(strength, recipe), ranking=ranking, fold=fold[number])


def _regression(strength: float, recipe: ProbeRecipe) -> LogisticRegression:
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=recipe.iterations)


def _output(
    key: str, truth: NDArray[np.float64], logit: NDArray[np.float64], patient: NDArray[np.str_]
) -> dict[str, Any]:
    """Calibration, thresholds and figures of one output on val."""
    known = ~np.isnan(truth)
    truth, logit, patient = truth[known], logit[known], patient[known]
    if not 0 < truth.sum() < len(truth):
        raise InvalidInput(
            "class_absent", f"val has {truth.sum():.0f} of {len(truth)} films with {key}: both are needed"
        )
    return measure.describe(key, truth, logit, patient)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 where the input cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(
        prog="python -m models.training.probe", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--embeddings", type=Path, required=True, help=".npz of files and embeddings, or .npy and .txt")
    parser.add_argument("--manifest", type=Path, required=True, help="CSV, one row a film")
    parser.add_argument("--out", type=Path, required=True, help="folder for probe.npz and probe.json")
    parser.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="OUTPUT=SOURCE",
        help="training films of that source do not teach that output; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the folds of cross-validation")
    options = parser.parse_args(arguments)
    pairs = [(key, source) for key, _, source in (text.partition("=") for text in options.leave_out)]
    try:
        examples = read_examples(read_embeddings(options.embeddings), options.manifest, pairs)
        train, val = examples["train"], examples["val"]
        probe, choices = fit(train, options.seed)
        outputs = [output | choice for output, choice in zip(judge(probe, val), choices, strict=True)]
    except InvalidInput as error:
        _LOG.error("%s", error.message)
        return 2
    digests = {
        f"{name}_sha256": hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in (("manifest", options.manifest), ("embeddings", options.embeddings))
    }
    counts = {
        "n_train": len(train.vectors),
        "n_train_patients": len(np.unique(train.patient)),
        "n_calibration": len(val.vectors),
        "n_calibration_patients": len(np.unique(val.patient)),
    }
    trained = {"seed": options.seed, "leave_out": options.leave_out, "scikit_learn": sklearn.__version__}
    facts = {
        "outputs": outputs,
        "prevalence": round(float(np.nanmean(val.truth[:, -1])), 4),
        "data": {**digests, **counts},
        "trained": trained,
    }
    write(probe, facts, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
