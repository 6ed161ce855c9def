"""The same decisions and bookings, with less to do for each."""

from app.db.migrations.sql import run

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    run("0006_admission.sql")
