"""Keys, conversations, completions and their logs."""

from app.db.migrations.sql import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    run("0001_initial.sql")
