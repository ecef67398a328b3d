"""Ward, station, view and question of each study, its patient's others by an index, and refusals by the gates.

What the gates refuse, because it is not what is looked at, was called failed and is out of scope.

Revision: 0004, after 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ADDED = ("ward", "station", "view", "question")
_PRESENT = sa.text("withdrawn_at IS NULL")
_OF_SCOPE = ("lateral_film", "not_chest_film")


def upgrade() -> None:
    """Apply; what no image said is empty, as it is of the studies that are there already."""
    for name in _ADDED:
        op.add_column("studies", sa.Column(name, _TEXT, nullable=False, server_default=""))
    op.create_index(
        "ix_studies_patient",
        "studies",
        ["patient_id", "study_date", "received_at", "study_instance_uid"],
        sqlite_where=_PRESENT,
        postgresql_where=_PRESENT,
    )
    _call("failed", "out_of_scope")


def downgrade() -> None:
    """Undo; what the headers said is lost, and lies in the PACS."""
    _call("out_of_scope", "failed")
    op.drop_index("ix_studies_patient", "studies")
    for name in _ADDED:
        op.drop_column("studies", name)


def _call(state: str, other: str) -> None:
    statement = sa.text("UPDATE studies SET state = :other WHERE state = :state AND failure_code IN :codes")
    op.get_bind().execute(
        statement.bindparams(sa.bindparam("codes", expanding=True)),
        {"state": state, "other": other, "codes": _OF_SCOPE},
    )
