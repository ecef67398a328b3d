"""A study is the one that Orthanc has, of one patient: its identifier is the key, where the Study Instance UID was.

Two patients may bear one Study Instance UID. A row of an earlier version that mixed them keeps the last one's name;
the patrol takes out what is not that patient's, and lists it under its own. From here on an earlier version writes
nothing: the columns by which it would are gone, those of the leases included.

Revision: 0006, after 0005
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from alembic import op
from alembic.operations.base import BatchOperations

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_OLD, _NEW = "study_instance_uid", "study_orthanc_id"
_STUDY = {_OLD: "study_instance_uid", _NEW: "orthanc_id"}  # what each of them means in the table of studies
_KEYS: Final = {  # of the tables about studies, S for the column that names the study
    "instances": ("sop_instance_uid", "S"),
    "analyses": ("S", "sop_instance_uid", "digest", "scorer_sha256"),
    "reports": ("S", "revision"),
    "jobs": ("job_id",),
    "results": ("S", "sop_instance_uid"),
}
_OLD_KEYS: Final = _KEYS | {"results": ("sop_instance_uid",)}
_INDEXES: Final = (
    ("ix_instances_study", "instances", ("S", "scope_code")),
    ("ix_jobs_S", "jobs", ("S",)),
    ("ix_results_study", "results", ("S", "revision")),
    ("ix_events_study", "events", ("S", "sequence")),
)
_ON_THE_LIST = "reading_state NOT IN ('read', 'prior') AND withdrawn_at IS NULL"
_ORDERED: Final = (
    ("ix_studies_list", ("stat_rank", "queue_at", "received_at", "study_instance_uid"), _ON_THE_LIST),
    ("ix_studies_arrival", ("received_at", "study_instance_uid"), _ON_THE_LIST),
    ("ix_studies_priors", ("received_at", "study_instance_uid"), "reading_state = 'prior' AND withdrawn_at IS NULL"),
    ("ix_studies_read", ("reading_since", "study_instance_uid"), "reading_state = 'read' AND withdrawn_at IS NULL"),
)
_OTHERS: Final = (
    ("ix_studies_incomplete", ("incomplete_since",), "incomplete_since IS NOT NULL"),
    ("ix_studies_claimed", ("reading_until",), "reading_until IS NOT NULL"),
    ("ix_studies_checked", ("checked_at",), "withdrawn_at IS NULL AND revision > 0"),
    (
        "ix_studies_patient",
        ("patient_id", "study_date", "received_at", "study_instance_uid"),
        "withdrawn_at IS NULL",
    ),
)


def upgrade() -> None:
    """Apply."""
    op.add_column("events", sa.Column(_NEW, _TEXT, nullable=True))
    _fill("events", _NEW)
    _turn(_OLD, _NEW, _OLD_KEYS, _KEYS)
    op.alter_column("leases", "until", new_column_name="held_until")


def downgrade() -> None:
    """Undo; of studies with one Study Instance UID the last one stays, the others lie in the PACS."""
    op.alter_column("leases", "held_until", new_column_name="until")
    _keep_one_of_each_uid()
    _turn(_NEW, _OLD, _KEYS, _OLD_KEYS)
    op.drop_column("events", _NEW)


def _turn(old: str, new: str, old_keys: dict[str, tuple[str, ...]], new_keys: dict[str, tuple[str, ...]]) -> None:
    """Have studies named by another column, in their own table and in all others."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name, table, _ in _INDEXES:
        op.drop_index(name.replace("S", old), table)
    for table in _KEYS:
        op.add_column(table, sa.Column(new, _TEXT, nullable=True))
        _fill(table, new)
    if is_sqlite:
        _rebuild_studies(_STUDY[new])
    else:
        _alter_studies(old, _STUDY[new])
    for table, columns in new_keys.items():
        with op.batch_alter_table(table) as batch:
            if is_sqlite:  # where the others have it no more
                batch.drop_constraint(f"fk_{table}_{old}_studies", type_="foreignkey")
            if "S" in (*columns, *old_keys[table]):
                batch.drop_constraint(f"pk_{table}", type_="primary")
                batch.create_primary_key(f"pk_{table}", _named(columns, new))
            _name(batch, table, old, new)
    if is_sqlite:
        op.drop_table("former_studies")
    for name, table, columns in _INDEXES:
        op.create_index(name.replace("S", new), table, _named(columns, new))


def _name(batch: BatchOperations, table: str, old: str, new: str) -> None:
    if table == "jobs":
        batch.drop_constraint("uq_jobs_work", type_="unique")
    batch.alter_column(new, existing_type=_TEXT, nullable=False)
    batch.drop_column(old)
    batch.create_foreign_key(f"fk_{table}_{new}_studies", "studies", [new], [_STUDY[new]])
    if table == "jobs":
        batch.create_unique_constraint("uq_jobs_work", [new, "queue", "revision", "sop_instance_uid", "digest"])


def _rebuild_studies(key: str) -> None:
    # The others refer to the table under its new name until each of them is rebuilt.
    connection = op.get_bind()
    op.rename_table("studies", "former_studies")
    former = sa.Table("former_studies", sa.MetaData(), autoload_with=connection)
    columns = [
        sa.Column(one.name, one.type, nullable=one.nullable, server_default=one.server_default) for one in former.c
    ]
    for index in former.indexes:
        op.drop_index(str(index.name), "former_studies")
    op.create_table("studies", *columns, sa.PrimaryKeyConstraint(key, name="pk_studies"))
    names = ", ".join(column.name for column in former.c)
    connection.execute(sa.text(f"INSERT INTO studies ({names}) SELECT {names} FROM former_studies"))  # noqa: S608 - names
    _index_studies(key)
    for name, indexed, condition in _OTHERS:
        op.create_index(name, "studies", indexed, sqlite_where=sa.text(condition))


def _alter_studies(old: str, key: str) -> None:
    for table in _KEYS:
        op.drop_constraint(f"fk_{table}_{old}_studies", table, type_="foreignkey")
    op.drop_constraint("pk_studies", "studies", type_="primary")
    op.create_primary_key("pk_studies", "studies", [key])
    op.drop_index(f"ix_studies_{key}", "studies")
    for name, _, _ in _ORDERED:
        op.drop_index(name, "studies")
    _index_studies(key)


def _index_studies(key: str) -> None:
    is_new = key == "orthanc_id"
    other = "study_instance_uid" if is_new else "orthanc_id"
    op.create_index(f"ix_studies_{other}", "studies", [other])
    for name, columns, condition in _ORDERED:
        ordered = (*columns, "orthanc_id") if is_new else columns
        where = sa.text(condition)
        op.create_index(name, "studies", ordered, sqlite_where=where, postgresql_where=where)


def _fill(table: str, new: str) -> None:
    old = _OLD if new == _NEW else _NEW
    found = f"SELECT s.{_STUDY[new]} FROM studies s WHERE s.{_STUDY[old]} = {table}.{old}"  # noqa: S608 - our own names
    op.execute(f"UPDATE {table} SET {new} = ({found})")  # noqa: S608


def _keep_one_of_each_uid() -> None:
    # The one that lies in the PACS and came last.
    connection = op.get_bind()
    rank = "ORDER BY CASE WHEN withdrawn_at IS NULL THEN 0 ELSE 1 END, received_at DESC, orthanc_id"
    ranked = f"SELECT orthanc_id, row_number() OVER (PARTITION BY study_instance_uid {rank}) AS place FROM studies"  # noqa: S608
    others = f"SELECT orthanc_id FROM ({ranked}) ranked WHERE place > 1"  # noqa: S608
    for table in _KEYS:
        connection.execute(sa.text(f"DELETE FROM {table} WHERE {_NEW} IN ({others})"))  # noqa: S608
    connection.execute(sa.text(f"DELETE FROM studies WHERE orthanc_id IN ({others})"))  # noqa: S608
    ranked = (
        "SELECT *, row_number() OVER (PARTITION BY sop_instance_uid ORDER BY study_orthanc_id) AS place FROM results"
    )
    others = f"SELECT sop_instance_uid || ' ' || study_orthanc_id FROM ({ranked}) ranked WHERE place > 1"  # noqa: S608
    connection.execute(
        sa.text(f"DELETE FROM results WHERE sop_instance_uid || ' ' || study_orthanc_id IN ({others})")  # noqa: S608
    )


def _named(columns: Sequence[str], study: str) -> list[str]:
    return [study if column == "S" else column for column in columns]
