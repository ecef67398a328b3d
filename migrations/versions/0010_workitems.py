"""Workitems of other systems, what is said by UPS of a reading's workitem, and who hears of them.

Revision: 0010, after 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply; the tables are new, and an earlier version beside it does not miss them."""
    op.create_table(
        "workitems",
        sa.Column("workitem_uid", _TEXT, nullable=False),
        sa.Column("state", sa.String(16), nullable=True),
        sa.Column("transaction_uid", _TEXT, nullable=False),
        sa.Column("document", _TEXT, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("updated_at", _MOMENT, nullable=False),
        sa.Column("final_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("workitem_uid", name="pk_workitems"),
    )
    op.create_index("ix_workitems_final_at", "workitems", ["final_at"])
    op.create_table(
        "subscriptions",
        sa.Column("ae_title", _TEXT, nullable=False),
        sa.Column("workitem_uid", _TEXT, nullable=False),
        sa.Column("is_on", sa.Boolean(), nullable=False),
        sa.Column("has_lock", sa.Boolean(), nullable=False),
        sa.Column("filter", _TEXT, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("suspended_at", _MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("ae_title", "workitem_uid", name="pk_subscriptions"),
    )
    op.create_index("ix_subscriptions_workitem_uid", "subscriptions", ["workitem_uid"])


def downgrade() -> None:
    """Undo."""
    op.drop_table("subscriptions")
    op.drop_table("workitems")
