"""A site as revision 0002 of the database kept it: studies of every kind, by SQL alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import command

import migrations
from worklist.records import Database

SCORER = {"name": "embedded", "version": "1", "sha256": "a" * 64, "device_uid": "2.25.7"}
EXPLAINER = {"name": "template", "version": "3", "sha256": "b" * 64, "device_uid": "2.25.8"}
# What becomes of a study: its state, score and class.
KINDS = {
    "reported": ("reported", 0.1, "routine"),
    "urgent": ("reported", 0.6, "urgent"),
    "two_images": ("reported", 0.85, "critical"),
    "scored": ("scored", 0.4, "urgent"),
    "failed": ("failed", None, None),
    "out_of_scope": ("out_of_scope", None, None),
    "withdrawn": ("reported", 0.85, "critical"),
    "waiting": ("waiting", None, None),
    "stat": ("reported", 0.85, "critical"),
}
REFUSALS = {
    "failed": ("undecodable", "cannot be decoded"),
    "out_of_scope": ("lateral_view", "only frontal images are scored"),
}
_AT_ONCE = 500
_MOMENT = sa.DateTime(timezone=True)
_MOMENTS = {
    *("received_at", "last_image_at", "queue_at", "checked_at", "withdrawn_at", "updated_at", "read_at"),
    *("not_before", "created_at", "finished_at", "enqueued_at", "lease_until"),
}


def fill_old_site(database: Database, studies: int, newest: datetime | None = None) -> None:
    """Bring an empty database to revision 0002 and give it studies, one a minute up to a moment."""
    command.upgrade(migrations.configure(database), "0002")
    newest = newest or datetime.now(UTC)
    with database.write() as session:
        for start in range(0, studies, _AT_ONCE):
            rows: dict[str, list[dict[str, Any]]] = {"studies": [], "instances": [], "jobs": [], "results": []}
            for number in range(start, min(start + _AT_ONCE, studies)):
                _add(rows, number, newest - timedelta(minutes=number))
            for table, values in rows.items():
                _insert(session.connection(), table, values)
        _insert(session.connection(), "feeds", [{"name": "f", "sequence": 9, "marks": "9 x", "read_at": newest}])


def document(image: str, score: float, pneumothorax: float, at: datetime, *, words: str = "") -> str:
    """An Analysis as revision 0002 kept it."""
    findings = [
        {
            "type": kind,
            "probability": probability,
            "threshold": 0.5,
            "side": "right",
            "region": {"x": 10, "y": 20, "width": 30, "height": 40},
        }
        for kind, probability in (
            ("pneumothorax", pneumothorax),
            ("pleural_effusion", score),
            ("consolidation", 0.2),
            ("pneumonia", 0.15),
            ("cardiomegaly", 0.1 + 0.2),
            ("pulmonary_edema", 0.05),
        )
    ]
    return json.dumps(
        {
            "image": {
                "study_instance_uid": image.rsplit(".", 2)[0],
                "series_instance_uid": image.rsplit(".", 1)[0],
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
                "sop_instance_uid": image,
                "rows": 2048,
                "columns": 2500,
            },
            "scorer": SCORER,
            "findings": findings,
            "score": score,
            "threshold": 0.3,
            "completed_at": at.isoformat().replace("+00:00", "Z"),
            "elapsed_ms": 12.5,
            "quality": [{"code": "rotated", "message": "rotated"}],
            "explanation": words,
            "explainer": EXPLAINER if words else None,
            "prompt_version": "1" if words else "",
            "snippets": [{"source": "1.9", "snippet": "No effusion."}] if words else [],
        },
        separators=(",", ":"),
    )


def _add(rows: dict[str, list[dict[str, Any]]], number: int, at: datetime) -> None:
    uid, kind = f"1.2.826.{number}", list(KINDS)[number % len(KINDS)]
    state, score, urgency = KINDS[kind]
    refusal = REFUSALS.get(kind, (None, None))
    scored_at = at + timedelta(seconds=1)
    is_reported = state == "reported"
    images = [f"{uid}.1.{image}" for image in range(1, 3 if kind == "two_images" else 2)]
    rows["studies"].append(
        {
            "study_instance_uid": uid,
            "orthanc_id": f"o{uid}",
            "patient_id": f"P{number}",
            "patient_name": f"Doe^Jane{number}",
            "accession_number": f"A{number}",
            "study_description": "Chest PA",
            "modality": "DX",
            "received_at": at,
            "last_image_at": scored_at,
            "order_priority": "STAT" if kind == "stat" else "ROUTINE",
            "stat_rank": 0 if kind == "stat" else 1,
            "queue_at": at - timedelta(hours=10 * score if score and urgency != "routine" else 0),
            "state": state,
            "score": score,
            "urgency": urgency,
            "reason": "in order of arrival",
            "failure_code": refusal[0],
            "failure_message": refusal[1],
            "revision": 1,
            "reported_revision": 1 if is_reported else None,
            "analysis": document(images[0], score or 0.0, 0.05, scored_at, words="Look right.")
            if is_reported
            else None,
            "checked_at": scored_at,
            "withdrawn_at": scored_at if kind == "withdrawn" else None,
            "updated_at": scored_at,
        }
    )
    for place, image in enumerate(images):
        said = document(image, score - 0.1 * place, 0.05 + 0.6 * place, scored_at) if score is not None else None
        refused = refusal if state == "out_of_scope" else (None, None)
        rows["instances"].append(
            {
                "sop_instance_uid": image,
                "study_instance_uid": uid,
                "series_instance_uid": f"{uid}.1",
                "digest": f"d{place}",
                "scope_code": refused[0],
                "scope_message": refused[1],
                "analysis": said,
            }
        )
        if state != "out_of_scope":
            rows["jobs"].append(_job(uid, f"d{place}", at, image=image, state=state, failure=refusal))
    if is_reported:
        rows["jobs"].append(_job(uid, "", scored_at))
        rows["results"].append(
            {
                "sop_instance_uid": f"{uid}.9.1",
                "study_instance_uid": uid,
                "series_instance_uid": f"{uid}.9",
                "sop_class_uid": "1.2.840.10008.5.1.4.1.1.88.33",
                "revision": 1,
                "position": 0,
            }
        )


def _job(  # noqa: PLR0913 - the columns of a row
    uid: str,
    digest: str,
    at: datetime,
    *,
    image: str = "",
    state: str = "",
    failure: tuple[str | None, str | None] = (None, None),
) -> dict[str, Any]:
    return {
        "job_id": f"{uid} {image}",
        "study_instance_uid": uid,
        "path": "score" if image else "report",
        "revision": 1,
        "sop_instance_uid": image,
        "digest": digest,
        "state": {"failed": "CANCELED", "waiting": "SCHEDULED"}.get(state, "COMPLETED"),
        "attempts": 1,
        "enqueues": 1,
        "enqueued_at": at,
        "not_before": at,
        "lease_until": None,
        "holder": None,
        "failure_code": failure[0],
        "failure_message": failure[1],
        "created_at": at,
        "finished_at": None if state == "waiting" else at + timedelta(seconds=2),
    }


def _insert(connection: sa.Connection, table: str, rows: Sequence[dict[str, Any]]) -> None:
    columns = [sa.column(name, _MOMENT if name in _MOMENTS else None) for name in rows[0]]
    connection.execute(sa.insert(sa.table(table, *columns)), rows)
