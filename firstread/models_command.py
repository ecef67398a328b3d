"""What `firstread models` prints and does about the licensed models below FIRSTREAD_MODEL_DIR."""

from __future__ import annotations

import platform
import time
from pathlib import Path

import typer

from firstread.compose_worker import build_scorer
from firstread.settings import Settings
from firstread.tables import print_json
from imaging.radiograph import read_radiograph
from imaging.simulated.samples import build_film
from models.checkpoints.known import HAI_DEF, KNOWN_MODELS, MEDSIGLIP, KnownModel, folder_of, known_model
from models.checkpoints.loading import not_installed
from models.checkpoints.manifest import MADE_HERE, pin, read_manifest, verified
from worklist.errors import FirstreadError, InvalidInput, ModelUnavailable


def print_models(model_dir: Path | None, *, as_json: bool) -> None:
    """Each licensed model: where it comes from, and what of it lies here. It reads no weights.

    Args:
        model_dir: FIRSTREAD_MODEL_DIR.
        as_json: JSON alone instead of lines for people.
    """
    listed = [_listed(model, model_dir) for model in KNOWN_MODELS.values()]
    if as_json:
        print_json(listed)
        return
    for facts in listed:
        typer.echo(f"{facts['name']}: {facts['repository']}, {facts['weights_gb']} GB of weights, {HAI_DEF}")
        typer.echo(f"  {facts['state']}")


def verify_models(model_dir: Path | None, name: str = "") -> None:
    """Hold every byte of a model against its manifest, or of each that is here.

    Raises:
        InvalidInput: unknown_model, or nothing_to_verify.
        ModelUnavailable: a file is not what the manifest says; see models.checkpoints.manifest.
    """
    models = [known_model(name)] if name else [model for model in KNOWN_MODELS.values() if _is_here(model, model_dir)]
    if not models:
        raise InvalidInput("nothing_to_verify", f"no licensed model lies in {model_dir}: see models/README.md")
    for model in models:
        manifest = verified(folder_of(model, model_dir), model)
        size_mb = sum(file.size for file in manifest.files.values()) / 1e6
        typer.echo(
            f"{model.name} {manifest.revision}: {len(manifest.files)} files, {size_mb:.1f} MB, as its manifest says; "
            f"weights {manifest.sha256}"
        )


def pin_model(model_dir: Path | None, name: str, revision: str = "") -> None:
    """Write down what a downloaded model consists of, after holding it against what the hub stated.

    Raises:
        InvalidInput: see models.checkpoints.manifest.pin.
        ModelUnavailable: there is no such folder.
    """
    model = known_model(name)
    manifest = pin(folder_of(model, model_dir), model, revision)
    typer.echo(f"{model.name} {manifest.revision}: {len(manifest.files)} files pinned; weights {manifest.sha256}")


def export_model(settings: Settings, name: str, *, again: bool) -> None:
    """Make what the CPU runs of MedSigLIP, measure it on this machine, and keep the fastest that is faithful.

    Raises:
        InvalidInput: another model, which is run as it is.
        ModelUnavailable: see models.medsiglip.export.export.
    """
    model = known_model(name)
    if model is not MEDSIGLIP:
        raise InvalidInput(
            "nothing_to_export", f"{name} is run as it was downloaded: only {MEDSIGLIP.name} is exported"
        )
    folder = folder_of(model, settings.model_dir)
    try:
        from models.medsiglip.export import export  # noqa: PLC0415 - it loads torch
    except ModuleNotFoundError as error:
        raise not_installed(error) from error

    exported = export(folder, threads=settings.scorer_threads, machine=processor(), say=typer.echo, again=again)
    typer.echo(f"{folder / MADE_HERE}: {exported.kept}, weights {exported.sha256}, on {exported.machine}")


def warm_model(settings: Settings, name: str) -> None:
    """Read every byte of a model, so that the first worker finds it in memory, and let a scorer judge one film.

    Raises:
        InvalidInput: unknown_model.
        ModelUnavailable: it cannot be loaded or run.
    """
    model = known_model(name)
    started = time.perf_counter()
    if model is MEDSIGLIP:
        scorer = build_scorer(settings.model_copy(update={"scorer": model.name}))
        loaded = time.perf_counter()
        analysis = scorer.score(read_radiograph(build_film()))
        typer.echo(
            f"{scorer.algorithm.name} {scorer.algorithm.version}: loaded in {loaded - started:.1f} s, a film in "
            f"{analysis.elapsed_ms / 1000:.2f} s"
        )
        return
    manifest = verified(folder_of(model, settings.model_dir), model)
    typer.echo(f"{name} {manifest.revision}: read in {time.perf_counter() - started:.1f} s")


def make_stand_ins(settings: Settings, model_dir: Path) -> None:
    """Make the stand-ins, ready to use.

    Raises:
        InvalidInput: a folder is in use.
        ModelUnavailable: the extra `models` is not installed.
    """
    from models.checkpoints.stand_in import write_stand_ins  # noqa: PLC0415 - it loads transformers

    for folder in write_stand_ins(model_dir):
        typer.echo(f"{folder}: random weights, to try the wiring; what they say of a film means nothing")
    export_model(settings.model_copy(update={"model_dir": model_dir}), MEDSIGLIP.name, again=True)
    typer.echo(f"now set FIRSTREAD_MODEL_DIR={model_dir}")


def processor() -> str:
    """How many processors this machine has, and which."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _listed(model: KnownModel, model_dir: Path | None) -> dict[str, object]:
    facts: dict[str, object] = {
        "name": model.name,
        "repository": model.repository,
        "weights_gb": model.size_gb,
        "download": model.download,
        "folder": str(model_dir / model.name) if model_dir else None,
    }
    try:
        manifest = read_manifest(folder_of(model, model_dir), model)
    except ModelUnavailable as error:
        return facts | {"state": error.message, "revision": None, "sha256": None}
    kind = "random weights, a stand-in" if manifest.is_stand_in else f"revision {manifest.revision}"
    state = f"{facts['folder']}: {kind}, weights {manifest.sha256}"
    return facts | {"state": state, "revision": manifest.revision, "sha256": manifest.sha256}


def _is_here(model: KnownModel, model_dir: Path | None) -> bool:
    try:
        folder_of(model, model_dir)
    except FirstreadError:
        return False
    return True
