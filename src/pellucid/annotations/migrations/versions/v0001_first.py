"""The first tables: the dataset, its images, marks, verdicts, notes, and who looked at what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "dataset",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("split", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("classes", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
    )
    op.create_table(
        "image",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
    )
    op.create_table(
        "mark",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("id", sa.String(36), nullable=False, unique=True),
        sa.Column("image", sa.Text, sa.ForeignKey("image.id"), nullable=False, index=True),
        sa.Column("class_name", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("shape", sa.Text, nullable=False),
        sa.Column("annotator", sa.Text, nullable=False, index=True),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("undone", sa.Boolean, nullable=False),
    )
    op.create_table(
        "verdict",
        sa.Column("image", sa.Text, sa.ForeignKey("image.id"), primary_key=True),
        sa.Column("class_name", sa.Text, primary_key=True),
        sa.Column("annotator", sa.Text, primary_key=True),
        sa.Column("present", sa.String(8), nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
    )
    op.create_table(
        "note",
        sa.Column("image", sa.Text, sa.ForeignKey("image.id"), primary_key=True),
        sa.Column("annotator", sa.Text, primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
    )
    op.create_table(
        "visit",
        sa.Column("image", sa.Text, sa.ForeignKey("image.id"), primary_key=True),
        sa.Column("annotator", sa.Text, primary_key=True),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("offered", sa.String(32), nullable=False),
        sa.Column("changed", sa.String(32), nullable=False),
    )


def downgrade() -> None:
    """Drop the tables, with all that they hold."""
    for name in ("visit", "note", "verdict", "mark", "image", "dataset"):
        op.drop_table(name)
