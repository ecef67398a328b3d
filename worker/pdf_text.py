"""The text of a PDF report, read in a process of its own: a hostile file costs that process and nothing else.

`text_of_pdf` starts this very file as a program, which gets the PDF on its standard input, may use so much processor
time and memory and no more, and writes the text. It must not import the project.
"""

from __future__ import annotations

import io
import resource
import subprocess
import sys
from typing import Final

MOST_PAGES: Final = 12
_MOST_CHARACTERS: Final = 200_000
_TIME_S: Final = 10
_MEMORY_BYTES: Final = 512 * 1024 * 1024
_ENCRYPTED, _CUT = 3, 4  # exit statuses


def text_of_pdf(file: bytes) -> tuple[str, str]:
    """The text of a PDF's first pages, and what of it was not read or why none was, in a line; "" for all of it.

    Args:
        file: the PDF.
    """
    try:
        # its own interpreter and this file: nothing that anybody typed
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-I", __file__], input=file, capture_output=True, timeout=_TIME_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"the PDF could not be read within {_TIME_S} s"
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode == _ENCRYPTED:
        return "", "the PDF is encrypted and was not read"
    if done.returncode not in {0, _CUT}:
        return "", "the PDF cannot be read"
    if not text.strip():
        return "", "the PDF holds no text, as a scanned one does"
    return text, f"of the PDF the first {MOST_PAGES} pages were read" if done.returncode == _CUT else ""


def _main() -> int:
    resource.setrlimit(resource.RLIMIT_CPU, (_TIME_S, _TIME_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    from pypdf import PdfReader  # noqa: PLC0415 - behind the limits, and for this process alone

    reader = PdfReader(io.BytesIO(sys.stdin.buffer.read()))
    if reader.is_encrypted:
        return _ENCRYPTED
    pages = []
    for page in reader.pages[:MOST_PAGES]:
        pages.append(page.extract_text())
        if sum(map(len, pages)) > _MOST_CHARACTERS:
            break
    sys.stdout.buffer.write("\n\n".join(pages)[:_MOST_CHARACTERS].encode("utf-8", "replace"))
    return 0 if len(pages) == len(reader.pages) else _CUT


if __name__ == "__main__":
    sys.exit(_main())
