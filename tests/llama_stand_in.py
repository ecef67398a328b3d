"""`python -m tests.llama_stand_in DIR`: llama.cpp's server on the MedGemma stand-in of a model folder, until Ctrl-C.

DIR is what `firstread models stand-in DIR` made. It prints the settings by which a demo asks this server.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from pathlib import Path

import typer

from models.checkpoints.known import MEDGEMMA, folder_of
from tests.gguf_stand_in import write_gguf
from tests.language_servers import llama_server


def main() -> None:
    """Convert, serve, wait."""
    checkpoint = folder_of(MEDGEMMA, Path(sys.argv[1]))
    with (
        tempfile.TemporaryDirectory(prefix="firstread-gguf-") as folder,
        llama_server(*write_gguf(checkpoint, Path(folder))) as url,
        contextlib.suppress(KeyboardInterrupt),
    ):
        typer.echo(f"FIRSTREAD_EXPLAINER=openai FIRSTREAD_EXPLAINER_URL={url}")
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
