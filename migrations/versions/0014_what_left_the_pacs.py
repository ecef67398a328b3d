"""What has left the PACS is found by an index, so that retention scans nothing.

Revision: 0014, after 0013
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_WITHDRAWN = sa.text("withdrawn_at IS NOT NULL")


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "ix_studies_withdrawn", "studies", ["withdrawn_at"], sqlite_where=_WITHDRAWN, postgresql_where=_WITHDRAWN
    )


def downgrade() -> None:
    """Undo."""
    op.drop_index("ix_studies_withdrawn", "studies")
