"""Run a migration's SQL file as it is."""

from pathlib import Path

from alembic import op


def run(file: str) -> None:
    """Send `file` (beside this one) to the server in one go: no parameters, so `%` and `$$` mean what they say."""
    connection = op.get_bind().connection.driver_connection
    assert connection is not None
    connection.execute((Path(__file__).parent / file).read_text())
