"""Batches: many completions, ordered by an engine elsewhere and decided on here."""

from app.db.migrations.sql import run

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    run("0005_batches.sql")
