"""Faults that are made on purpose, on the real programs, and what must hold after each.

To add one, write a function in one of the files of_*.py that makes the fault, lets it last and ends it, and put
@fault(...) before it; see fault.py. It is then part of `make faults`, and of `make test` where it says is_quick.
"""

from tests.faults import of_disks, of_lines, of_pacs, of_programs
from tests.faults.fault import FAULTS

__all__ = ["FAULTS", "of_disks", "of_lines", "of_pacs", "of_programs"]
