"""Where a study was made, by which it is seen where several sites share the list; and the sites of a login.

Revision: 0015, after 0014
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_PRESENT = sa.text("withdrawn_at IS NULL")
_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Apply; an earlier version beside it writes neither, and what it wrote is asked of the PACS later."""
    op.add_column("studies", sa.Column("institution", _TEXT, nullable=True))
    op.add_column("sessions", sa.Column("sites", _TEXT, nullable=True))
    # A patient's other studies are told by it alone. And to SQLite, which goes by the width of rows and indexes, it is
    # never as cheap to count by as those of what is listed, read or a prior.
    _index_patients("patient_id", "study_date", "received_at", "study_instance_uid", "orthanc_id")


def downgrade() -> None:
    """Undo."""
    _index_patients("patient_id", "study_date", "received_at", "study_instance_uid")
    op.drop_column("sessions", "sites")
    op.drop_column("studies", "institution")


def _index_patients(*columns: str) -> None:
    op.drop_index("ix_studies_patient", "studies")
    op.create_index("ix_studies_patient", "studies", list(columns), sqlite_where=_PRESENT, postgresql_where=_PRESENT)
