"""What failed is found by an index.

Revision: 0007, after 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_FAILED = sa.text("state = 'CANCELED'")


def upgrade() -> None:
    """Apply."""
    op.create_index("ix_jobs_failed", "jobs", ["finished_at"], sqlite_where=_FAILED, postgresql_where=_FAILED)


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_jobs_failed", "jobs")
