"""How much room is left: on the disks that the gateway sees, and in the PACS, as far as it tells."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.intake.orthanc import OrthancClient
from worklist.errors import TransientError

_TOLD: Final = "/firstread/storage"  # by orthanc/plugin.py
_NEARLY: Final = 0.95  # of Orthanc's own limit
_MB: Final = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    """What is looked at.

    Attributes:
        folders: of this machine, by what they hold, such as the database.
        least_bytes: that should be free.
    """

    folders: Mapping[str, Path]
    least_bytes: int

    def ours(self) -> str:
        """What is free under our own folders.

        Raises:
            TransientError: disk_nearly_full.
        """
        disks: dict[int, list[str]] = {}
        free: dict[int, int] = {}
        for name, folder in self.folders.items():
            place = _existing(folder)
            disk = place.stat().st_dev
            disks.setdefault(disk, []).append(f"{name} ({folder})")
            free[disk] = shutil.disk_usage(place).free
        parts = [f"{_gb(free[disk])} free under {' and '.join(names)}" for disk, names in disks.items()]
        if any(left < self.least_bytes for left in free.values()):
            raise TransientError(
                "disk_nearly_full",
                f"{'; '.join(parts)}; less than FIRSTREAD_LEAST_FREE_MB={self.least_bytes // _MB} is too little: "
                "free that disk, or nothing new can be kept",
            )
        return "; ".join(parts)

    def of_pacs(self, orthanc: OrthancClient) -> str:
        """What is free in the PACS.

        Raises:
            TransientError: pacs_nearly_full.
            PacsUnavailable: it does not answer.
        """
        answer = orthanc.ask(orthanc.rest.get, _TOLD, absent_ok=True)
        if answer.is_error:
            return "not told: install orthanc/plugin.py as Orthanc's PythonScript"
        told: dict[str, Any] = answer.json()
        parts, wrong = [], ""
        if told.get("free_bytes") is not None:
            parts.append(f"{_gb(told['free_bytes'])} free on Orthanc's disk")
            if told["free_bytes"] < self.least_bytes:
                wrong = f"less than FIRSTREAD_LEAST_FREE_MB={self.least_bytes // _MB}: free it"
        limit = told.get("limit_bytes") or 0
        if limit:
            used = int(orthanc.ask(orthanc.rest.get, "/statistics").json()["TotalDiskSize"])
            parts.append(f"{_gb(used)} used of Orthanc's MaximumStorageSize, {_gb(limit)}")
            if used > _NEARLY * limit:
                deletes = "it deletes its oldest patients" if told.get("deletes") else "it takes no more films"
                wrong = f"at the limit {deletes}: raise MaximumStorageSize"
        if wrong:
            raise TransientError("pacs_nearly_full", f"{', '.join(parts)}, {wrong}")
        return ", ".join(parts) or "Orthanc does not tell"


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
