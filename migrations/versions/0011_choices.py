"""What a site chooses at run time, and the scorers' cards that it is laid over.

Revision: 0011, after 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply; the tables are new and empty, and an earlier version beside it does not miss them."""
    op.create_table(
        "cards",
        sa.Column("scorer_sha256", _TEXT, nullable=False),
        sa.Column("document", _TEXT, nullable=False),
        sa.Column("kept_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("scorer_sha256", name="pk_cards"),
    )
    op.create_table(
        "choices",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("actor", _TEXT, nullable=False),
        sa.Column("actor_source", _TEXT, nullable=False),
        sa.Column("why", _TEXT, nullable=False),
        sa.Column("document", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("number", name="pk_choices"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("choices")
    op.drop_table("cards")
