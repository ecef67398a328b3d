"""Who is logged in.

Revision: 0012, after 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply; the table is new, and an earlier version beside it does not miss it."""
    op.create_table(
        "sessions",
        sa.Column("session_sha256", _TEXT, nullable=False),
        sa.Column("name", _TEXT, nullable=False),
        sa.Column("roles", _TEXT, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("seen_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("session_sha256", name="pk_sessions"),
    )
    op.create_index("ix_sessions_seen_at", "sessions", ["seen_at"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("sessions")
