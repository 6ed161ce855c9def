"""The parts of streaming that a test drives itself, without prices of its own."""

from app.catalogue import Catalogue
from app.db.pool import Pool
from app.prices import Prices
from app.streaming.interruption import Interruption

PRICES = Prices("anthropic", Catalogue())


def interruption(pool: Pool, lease: float = 60.0) -> Interruption:
    return Interruption(pool, PRICES, lease)
