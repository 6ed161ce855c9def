"""A thousand streams at once, at a slow model's pace: what they take of the machine and leave in Postgres."""

from dataclasses import dataclass
from typing import Any, Final

import psycopg

from bench.load import Seen
from bench.modes import Mode, alone, load, plan, quantile
from bench.servers import Server

MODE: Final = Mode("many", "1,000 streams of 5 events a second", 1000, 1000, 100, 5, 10)


@dataclass(frozen=True, slots=True)
class Many:
    seen: Seen
    cores: float
    database_cores: float
    wal_kb: float
    transactions: float
    rows: float


def measure(server: Server, mode: Mode = MODE) -> Many:
    with alone(server) as running:
        assert running.database_url is not None
        before = _database(running.database_url)
        cpu, database = running.cpu(), running.cpu_beside()
        seen = load(plan(server, running, mode))
        cpu, database = running.cpu() - cpu, running.cpu_beside() - database
        wal, transactions, rows = (
            after - earlier for after, earlier in zip(_database(running.database_url), before, strict=True)
        )
        return Many(
            seen,
            cpu / seen.seconds,
            database / seen.seconds,
            wal / mode.streams / 1000,
            transactions / mode.streams,
            rows / mode.streams,
        )


def _database(url: str) -> tuple[float, float, float]:
    """Bytes of WAL, transactions and rows written so far."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("SELECT pg_stat_force_next_flush()")
        found: Any = conn.execute(
            "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), xact_commit,"
            " (SELECT sum(n_tup_ins + n_tup_upd) FROM pg_stat_user_tables)"
            " FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    return float(found[0]), float(found[1]), float(found[2])


def told(many: Many) -> list[dict[str, str]]:
    seen = many.seen
    figures = {
        "streams, of them whole": f"{seen.whole + seen.broken:,}, {seen.whole:,}",
        "cores of the app": f"{many.cores:.2f}",
        "cores of Postgres": f"{many.database_cores:.2f}",
        "cores of the client": f"{seen.cpu / seen.seconds:.2f}",
        "events late, p50 / p99": f"{quantile(seen.lateness, 0.5):.1f} / {quantile(seen.lateness, 0.99):.1f} ms",
        "first text, p50 / p99": f"{quantile(seen.first_text, 0.5):.1f} / {quantile(seen.first_text, 0.99):.1f} ms",
        "WAL a completion": f"{many.wal_kb:.1f} kB",
        "transactions a completion, ticks included": f"{many.transactions:.2f}",
        "rows written a completion": f"{many.rows:.1f}",
    }
    return [{"figure": name, "": value} for name, value in figures.items()]
