"""Who may speak under which name: the browsers that signed in, and invitations; and indices for a crowd."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables and indices. Names that annotated before are taken: an invitation lets their owners in."""
    op.create_table(
        "session",
        sa.Column("secret", sa.String(64), primary_key=True),
        sa.Column("annotator", sa.Text, primary_key=True),
        sa.Column("proof", sa.String(64), nullable=False),
        sa.Column("used", sa.String(32), nullable=False),
    )
    op.create_table(
        "invitation",
        sa.Column("code", sa.String(64), primary_key=True),
        sa.Column("annotator", sa.Text, nullable=False, index=True),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("accepted", sa.String(64)),
    )
    op.create_index("ix_visit_annotator", "visit", ["annotator"])
    op.drop_index("ix_mark_annotator", "mark")
    op.create_index("ix_mark_counts", "mark", ["annotator", "undone", "image"])


def downgrade() -> None:
    """Drop them again."""
    op.drop_index("ix_mark_counts", "mark")
    op.create_index("ix_mark_annotator", "mark", ["annotator"])
    op.drop_index("ix_visit_annotator", "visit")
    op.drop_table("invitation")
    op.drop_table("session")
