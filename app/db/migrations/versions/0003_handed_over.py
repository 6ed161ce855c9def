"""Completions that are handed over to another instance."""

from app.db.migrations.sql import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    run("0003_handed_over.sql")
