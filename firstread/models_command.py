"""What `firstread models` prints and does about the licensed models below FIRSTREAD_MODEL_DIR."""

from __future__ import annotations

from pathlib import Path

import typer

from firstread.tables import print_json
from models.checkpoints.known import HAI_DEF, KNOWN_MODELS, KnownModel, folder_of, known_model
from models.checkpoints.manifest import pin, read_manifest, verified
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


def make_stand_ins(model_dir: Path) -> None:
    """Make the stand-ins, ready to use.

    Raises:
        InvalidInput: a folder is in use.
        ModelUnavailable: the extra `models` is not installed.
    """
    from models.checkpoints.stand_in import write_stand_ins  # noqa: PLC0415 - it loads transformers

    for folder in write_stand_ins(model_dir):
        typer.echo(f"{folder}: random weights, to try the wiring; what they say of a film means nothing")
    typer.echo(f"now set FIRSTREAD_MODEL_DIR={model_dir}")


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
