"""Benchmarks: make bench."""

import firstread  # noqa: F401 - as in the programs, before numpy is imported
