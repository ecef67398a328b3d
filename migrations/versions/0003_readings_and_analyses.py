"""Readings, one triage rule, analyses by scorer, reports that are kept first, and events.

Nobody knows which studies of the earlier version were read: those of the last week are to be read, older ones stand
aside as priors, in sight. Classes are found anew by the first worker that starts.

Revision: 0003, after 0002
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from alembic import op

from migrations.analysis_documents import first_version, second_version

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_STILL_WORK = timedelta(days=7)
_AT_ONCE = 1000
_REPORTED_REFUSALS = ("child", "lateral_view", "not_chest", "for_processing")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_MOMENT = sa.DateTime(timezone=True)
_WORD = sa.String(16)
_NEVER = "1970-01-01 00:00:00"
_PARTIAL = (
    (
        "ix_studies_list",
        "studies",
        ["stat_rank", "queue_at", "received_at", "study_instance_uid"],
        "reading_state NOT IN ('read', 'prior') AND withdrawn_at IS NULL",
    ),
    (
        "ix_studies_arrival",
        "studies",
        ["received_at", "study_instance_uid"],
        "reading_state NOT IN ('read', 'prior') AND withdrawn_at IS NULL",
    ),
    (
        "ix_studies_priors",
        "studies",
        ["received_at", "study_instance_uid"],
        "reading_state = 'prior' AND withdrawn_at IS NULL",
    ),
    (
        "ix_studies_read",
        "studies",
        ["reading_since", "study_instance_uid"],
        "reading_state = 'read' AND withdrawn_at IS NULL",
    ),
    ("ix_studies_incomplete", "studies", ["incomplete_since"], "incomplete_since IS NOT NULL"),
    ("ix_studies_claimed", "studies", ["reading_until"], "reading_until IS NOT NULL"),
    ("ix_studies_checked", "studies", ["checked_at"], "withdrawn_at IS NULL AND revision > 0"),
    ("ix_jobs_open", "jobs", ["queue", "not_before"], "state IN ('SCHEDULED', 'IN PROGRESS')"),
)


def upgrade() -> None:
    """Apply."""
    connection = op.get_bind()
    _create_tables()
    _move_analyses(connection)
    _move_reports(connection)
    for column in _added():
        op.add_column("studies", column)
    _fill_studies(connection)
    op.drop_index("ix_studies_updated_at", "studies")
    op.drop_index("ix_studies_reading_order", "studies")
    op.drop_column("studies", "analysis")
    op.drop_column("studies", "last_image_at")
    op.drop_index("ix_instances_study", "instances")
    op.drop_column("instances", "analysis")
    op.create_index("ix_instances_study", "instances", ["study_instance_uid", "scope_code"])
    op.drop_index("ix_jobs_state", "jobs")
    op.execute("ALTER TABLE jobs RENAME COLUMN path TO queue")
    for name, table, columns, condition in _PARTIAL:
        op.create_index(name, table, columns, sqlite_where=sa.text(condition), postgresql_where=sa.text(condition))
    if connection.dialect.name == "postgresql":
        _compare_bytes(connection)


def downgrade() -> None:
    """Undo; who read what, and what another scorer said, is lost."""
    connection = op.get_bind()
    for name, table, _, _ in _PARTIAL:
        op.drop_index(name, table)
    op.execute("ALTER TABLE jobs RENAME COLUMN queue TO path")
    op.create_index("ix_jobs_state", "jobs", ["state"])
    op.drop_index("ix_instances_study", "instances")
    op.add_column("instances", sa.Column("analysis", sa.Text(), nullable=True))
    op.create_index("ix_instances_study", "instances", ["study_instance_uid"])
    op.add_column("studies", sa.Column("last_image_at", _MOMENT, nullable=False, server_default=_NEVER))
    op.add_column("studies", sa.Column("analysis", sa.Text(), nullable=True))
    _restore_analyses(connection)
    connection.execute(sa.text("UPDATE studies SET last_image_at = coalesce(incomplete_since, received_at)"))
    connection.execute(sa.text("UPDATE studies SET stat_rank = 0 WHERE order_priority = 'STAT'"))
    connection.execute(sa.text("UPDATE studies SET urgency = 'routine' WHERE urgency = 'none'"))
    for column in _added():
        op.drop_column("studies", column.name)
    op.create_index(
        "ix_studies_reading_order", "studies", ["stat_rank", "queue_at", "received_at", "study_instance_uid"]
    )
    op.create_index("ix_studies_updated_at", "studies", ["updated_at"])
    for table in ("events", "policies", "reports", "analyses"):
        op.drop_table(table)


def _create_tables() -> None:
    op.create_table(
        "analyses",
        sa.Column("study_instance_uid", _TEXT, nullable=False),
        sa.Column("sop_instance_uid", _TEXT, nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("scorer_sha256", _TEXT, nullable=False),
        sa.Column("scored_at", _MOMENT, nullable=False),
        sa.Column("document", _TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["studies.study_instance_uid"], name="fk_analyses_study_instance_uid_studies"
        ),
        sa.PrimaryKeyConstraint(
            "study_instance_uid", "sop_instance_uid", "digest", "scorer_sha256", name="pk_analyses"
        ),
    )
    op.create_table(
        "reports",
        sa.Column("study_instance_uid", _TEXT, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("document", _TEXT, nullable=True),
        sa.Column("policy_digest", _TEXT, nullable=True),
        sa.Column("unscored", sa.Integer(), nullable=False),
        sa.Column("reported_at", _MOMENT, nullable=False),
        sa.Column("stored_at", _MOMENT, nullable=True),
        sa.ForeignKeyConstraint(
            ["study_instance_uid"], ["studies.study_instance_uid"], name="fk_reports_study_instance_uid_studies"
        ),
        sa.PrimaryKeyConstraint("study_instance_uid", "revision", name="pk_reports"),
    )
    op.create_table(
        "policies",
        sa.Column("policy_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("digest", _TEXT, nullable=False),
        sa.Column("scorer_sha256", _TEXT, nullable=False),
        sa.Column("document", _TEXT, nullable=False),
        sa.Column("in_force_from", _MOMENT, nullable=False),
        sa.Column("budget_checked_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("policy_id", name="pk_policies"),
    )
    op.create_index("ix_policies_digest", "policies", ["digest"])
    op.create_index("ix_policies_scorer_sha256", "policies", ["scorer_sha256"])
    op.create_table(
        "events",
        sa.Column("sequence", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("study_instance_uid", _TEXT, nullable=True),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("actor_source", _TEXT, nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_study", "events", ["study_instance_uid", "sequence"])


def _move_analyses(connection: sa.Connection) -> None:
    analyses = sa.table(
        "analyses",
        *(sa.column(name) for name in ("study_instance_uid", "sop_instance_uid", "digest", "scorer_sha256")),
        sa.column("scored_at", _MOMENT),
        sa.column("document"),
    )
    found = "SELECT study_instance_uid, sop_instance_uid, digest, analysis FROM instances WHERE analysis IS NOT NULL"
    for rows in _batches(connection, sa.text(found)):
        connection.execute(
            sa.insert(analyses),
            [
                {
                    "study_instance_uid": row.study_instance_uid,
                    "sop_instance_uid": row.sop_instance_uid,
                    "digest": row.digest,
                    "scorer_sha256": values["scorer"]["sha256"],
                    "scored_at": datetime.fromisoformat(values["completed_at"]),
                    "document": second_version(row.analysis),
                }
                for row in rows
                if (values := json.loads(row.analysis))
            ],
        )


def _move_reports(connection: sa.Connection) -> None:
    reports = sa.table(
        "reports",
        *(sa.column(name) for name in ("study_instance_uid", "revision", "document", "unscored")),
        *(sa.column(name, _MOMENT) for name in ("reported_at", "stored_at")),
    )
    several = _of_several_images(connection)
    finished = (
        sa.select(
            sa.text("s.study_instance_uid"),
            sa.text("s.reported_revision"),
            sa.text("s.analysis"),
            sa.column("created_at", _MOMENT),
            sa.column("finished_at", _MOMENT),
        )
        .select_from(
            sa.text(
                "studies s JOIN jobs j ON j.study_instance_uid = s.study_instance_uid AND j.path = 'report' "
                "AND j.revision = s.reported_revision"
            )
        )
        .where(sa.text("s.analysis IS NOT NULL"))
    )
    for rows in _batches(connection, finished):
        connection.execute(
            sa.insert(reports),
            [
                {
                    "study_instance_uid": row.study_instance_uid,
                    "revision": row.reported_revision,
                    "document": second_version(row.analysis, several.get(row.study_instance_uid, ())),
                    "unscored": 0,
                    "reported_at": max(_utc(row.created_at), datetime.fromisoformat(values["completed_at"])),
                    "stored_at": _utc(row.finished_at) if row.finished_at else None,
                }
                for row in rows
                if (values := json.loads(row.analysis))
            ],
        )


def _of_several_images(connection: sa.Connection) -> dict[str, list[str]]:
    # Documents of the first version by study, of the few studies that have more than one.
    found = (
        "SELECT study_instance_uid, analysis FROM instances WHERE analysis IS NOT NULL AND scope_code IS NULL AND "
        "study_instance_uid IN (SELECT study_instance_uid FROM instances WHERE analysis IS NOT NULL "
        "AND scope_code IS NULL GROUP BY study_instance_uid HAVING count(*) > 1) ORDER BY sop_instance_uid"
    )
    several: dict[str, list[str]] = {}
    for rows in _batches(connection, sa.text(found)):
        for row in rows:
            several.setdefault(row.study_instance_uid, []).append(row.analysis)
    return several


def _fill_studies(connection: sa.Connection) -> None:
    studies = sa.table(
        "studies",
        *(sa.column(name, _MOMENT) for name in ("received_at", "queue_at", "reading_since")),
        *(sa.column(name) for name in ("reading_state", "stat_rank", "urgency", "reason")),
    )
    now = datetime.now(UTC)
    # "Critical" was a high score; now it needs an emergency finding, which is only known once a worker has looked.
    urgency = sa.case({"routine": "none", "critical": "urgent"}, value=studies.c.urgency, else_=studies.c.urgency)
    connection.execute(sa.update(studies).values(reading_since=studies.c.received_at, urgency=urgency, reason=""))
    connection.execute(
        sa.update(studies)
        .where(studies.c.received_at < now - _STILL_WORK)
        .values(reading_state="prior", stat_rank=1, queue_at=studies.c.received_at)
    )
    connection.execute(
        sa.text(
            "UPDATE studies SET incomplete_since = last_image_at WHERE withdrawn_at IS NULL "
            "AND (state <> 'out_of_scope' OR failure_code IN :refusals) AND NOT EXISTS ("
            "SELECT 1 FROM jobs WHERE jobs.study_instance_uid = studies.study_instance_uid "
            "AND jobs.path = 'report' AND jobs.revision = studies.revision)"
        ).bindparams(sa.bindparam("refusals", _REPORTED_REFUSALS, expanding=True))
    )


def _restore_analyses(connection: sa.Connection) -> None:
    instances = sa.text(
        "UPDATE instances SET analysis = :analysis WHERE study_instance_uid = :study_instance_uid "
        "AND sop_instance_uid = :sop_instance_uid AND digest = :digest"
    )
    found = "SELECT study_instance_uid, sop_instance_uid, digest, document FROM analyses ORDER BY scored_at"
    for rows in _batches(connection, sa.text(found)):
        connection.execute(
            instances,
            [
                {
                    "study_instance_uid": row.study_instance_uid,
                    "sop_instance_uid": row.sop_instance_uid,
                    "digest": row.digest,
                    "analysis": first_version(row.document),
                }
                for row in rows
            ],
        )
    studies = sa.text(
        "UPDATE studies SET analysis = :analysis WHERE study_instance_uid = :study_instance_uid "
        "AND reported_revision = :revision"
    )
    found = "SELECT study_instance_uid, revision, document FROM reports WHERE document <> ''"
    images = sa.text("SELECT sop_instance_uid, document FROM analyses WHERE study_instance_uid = :uid")
    for rows in _batches(connection, sa.text(found)):
        restored = []
        for row in rows:
            of_images = {}
            if len(json.loads(row.document)["images"]) > 1:
                parts = connection.execute(images, {"uid": row.study_instance_uid})
                of_images = {part.sop_instance_uid: part.document for part in parts}
            restored.append(
                {
                    "study_instance_uid": row.study_instance_uid,
                    "revision": row.revision,
                    "analysis": first_version(row.document, of_images),
                }
            )
        connection.execute(studies, restored)


def _compare_bytes(connection: sa.Connection) -> None:
    inspector = sa.inspect(connection)
    for table in ("feeds", "studies", "instances", "jobs", "results", "predictions"):
        changes = ", ".join(
            f'ALTER COLUMN {column["name"]} TYPE TEXT COLLATE "C"'
            for column in inspector.get_columns(table)
            if isinstance(column["type"], sa.Text)
        )
        op.execute(f"ALTER TABLE {table} {changes}")


def _batches(connection: sa.Connection, found: sa.Executable) -> Iterator[Sequence[sa.Row[Any]]]:
    # Streamed: a hundred thousand documents at once would take hundreds of megabytes.
    yield from connection.execute(found, execution_options={"yield_per": _AT_ONCE}).partitions()


def _utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _added() -> list[sa.Column[Any]]:
    return [
        sa.Column("patient_sex", _TEXT, nullable=False, server_default=""),
        sa.Column("patient_age", _TEXT, nullable=False, server_default=""),
        sa.Column("study_date", _TEXT, nullable=False, server_default=""),
        sa.Column("acquired_at", _MOMENT, nullable=True),
        sa.Column("harm", sa.Double(), nullable=True),
        sa.Column("policy_digest", _TEXT, nullable=True),
        sa.Column("incomplete_since", _MOMENT, nullable=True),
        sa.Column("reading_state", _WORD, nullable=False, server_default="unread"),
        sa.Column("reading_number", sa.Integer(), nullable=False, server_default="1"),
        sa.Column("reader", _TEXT, nullable=False, server_default=""),
        sa.Column("reading_since", _MOMENT, nullable=False, server_default=_NEVER),
        sa.Column("reading_until", _MOMENT, nullable=True),
        sa.Column("how_read", _WORD, nullable=True),
        sa.Column("returned_for", _TEXT, nullable=False, server_default=""),
    ]
