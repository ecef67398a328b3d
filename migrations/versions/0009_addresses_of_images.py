"""Orthanc's own identifier of each image, so that nobody has to look for it.

Revision: 0009, after 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; of the images that are there it stays unknown, and they are looked for by their UIDs as before."""
    op.add_column("instances", sa.Column("orthanc_id", sa.Text(), nullable=True))


def downgrade() -> None:
    """Undo."""
    op.drop_column("instances", "orthanc_id")
