"""`python -m firstread`."""

from __future__ import annotations

from firstread.cli import main

main()
