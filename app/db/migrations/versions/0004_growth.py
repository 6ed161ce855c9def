"""Rows are found by their index, however many there are."""

from app.db.migrations.sql import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run("0004_growth.sql")
