"""Which training patients are held out, to choose between recipes by; the validation films choose nothing."""

from __future__ import annotations

import hashlib

FOLDS = 5


def is_held_out(patient: str, folds: int = FOLDS) -> bool:
    """Whether a patient of the training split is one of the one in `folds` held out; 0 folds hold out nobody."""
    return folds > 0 and int(hashlib.md5(patient.encode(), usedforsecurity=False).hexdigest(), 16) % folds == 0
