"""A Firstread of tomorrow: this one under another version, with a revision of the database that this lacks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.compose.engine import do
from tests.servers import REPOSITORY

VERSION = "99.0.0"
_REVISION = '''"""A table that the version before does not know.

Revision: {revision}, after {before}
"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table("of_tomorrow", sa.Column("number", sa.Integer(), nullable=False))
'''


def make_clean(folder: Path) -> Path:
    """Copy what a clean clone holds, so that nobody's work in the meantime disturbs the run; the folder."""
    for name in do(["git", "ls-files"], folder=REPOSITORY).splitlines():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / name, place)
    return folder


def make_newer(folder: Path) -> Path:
    """Write the source of the next version; the folder."""
    make_clean(folder)
    project = folder / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    project.write_text(
        re.sub(r'^version = ".*"$', f'version = "{VERSION}"', text, flags=re.MULTILINE), encoding="utf-8"
    )
    versions = folder / "migrations" / "versions"
    before = max(path.name[:4] for path in versions.glob("[0-9]*.py"))
    revision = f"{int(before) + 1:04}"
    script = _REVISION.format(revision=revision, before=before)
    (versions / f"{revision}_of_tomorrow.py").write_text(script, encoding="utf-8")
    return folder
