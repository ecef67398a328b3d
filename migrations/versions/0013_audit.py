"""Who did what with whom: a table that takes new rows alone.

Revision: 0013, after 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_MOMENT = sa.DateTime(timezone=True)
_REFUSE = """
CREATE FUNCTION audit_is_only_added_to() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'the audit trail is only ever added to'; END $$
"""


def upgrade() -> None:
    """Apply; the table is new, and an earlier version beside it does not miss it."""
    op.create_table(
        "audit",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("outcome", sa.Integer(), nullable=False),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("actor", "actor_source", "roles", "address")),
        *(sa.Column(name, _TEXT, nullable=False) for name in ("study_instance_uid", "patient_id", "detail", "digest")),
        sa.PrimaryKeyConstraint("number", name="pk_audit"),
    )
    op.create_index("ix_audit_study_instance_uid", "audit", ["study_instance_uid"])
    op.create_index("ix_audit_patient_id", "audit", ["patient_id"])
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit "
                "BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END"
            )
    else:
        op.execute(_REFUSE)
        op.execute(
            "CREATE TRIGGER audit_is_only_added_to BEFORE UPDATE OR DELETE OR TRUNCATE ON audit "
            "FOR EACH STATEMENT EXECUTE FUNCTION audit_is_only_added_to()"
        )


def downgrade() -> None:
    """Undo."""
    op.drop_table("audit")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION audit_is_only_added_to()")
