"""What the look back found can wait; uploads and their pictures are files.

Revision: 0008, after 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; predictions are short-lived, and those that are there are forgotten with their uploads."""
    op.add_column("studies", sa.Column("is_past", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.drop_table("prediction_pictures")
    op.get_bind().execute(sa.text("DELETE FROM predictions"))
    op.drop_column("predictions", "upload")
    op.drop_column("predictions", "prior_report")


def downgrade() -> None:
    """Undo."""
    op.get_bind().execute(sa.text("DELETE FROM predictions"))
    op.add_column("predictions", sa.Column("prior_report", sa.Text(), nullable=True))
    op.add_column("predictions", sa.Column("upload", sa.LargeBinary(), nullable=True))
    op.create_table(
        "prediction_pictures",
        sa.Column("prediction_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("png", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction_id"],
            ["predictions.prediction_id"],
            name="fk_prediction_pictures_prediction_id_predictions",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("prediction_id", "position", name="pk_prediction_pictures"),
    )
    op.drop_column("studies", "is_past")
