"""What a completion is booked with when it ends: its token counts and what they cost."""

from datetime import datetime
from typing import Final

import msgspec

from app.domain.errors import AppError, UpstreamError
from app.domain.message import MessageFold
from app.domain.usage import NOTHING, Counts
from app.prices import Asked, Prices

# Errors of the upstream after which nobody knows whether it had begun, and counted.
_UNCLEAR: Final = ("upstream_timeout", "upstream_connection", "upstream_truncated", "upstream_malformed")


class Account(msgspec.Struct, frozen=True):
    """What the price of a completion depends on, as its row in the ledger was opened."""

    model: str
    asked: Asked
    reserved_input: int
    opened_at: datetime


def counted(fold: MessageFold, account: Account, *, attempts: int, error: AppError | None) -> Counts:
    """What is known of a completion's tokens, or has to be supposed of one that broke off before it was told."""
    if fold.started:
        return Counts.of(fold.usage())
    refused = isinstance(error, UpstreamError) and error.code not in _UNCLEAR
    return NOTHING if refused or not attempts else supposed(account)


def supposed(account: Account) -> Counts:
    """Sent, and never heard of."""
    return Counts(input_tokens=account.reserved_input, estimated=True)


def bill(prices: Prices, account: Account, counts: Counts) -> str:
    """The columns of the ledger's row, as JSON."""
    cost = prices.cost(account.model, account.asked, counts, account.opened_at)
    told = {
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "cache_read_tokens": counts.cache_read_tokens,
        "cache_write_5m_tokens": counts.cache_write_5m_tokens,
        "cache_write_1h_tokens": counts.cache_write_1h_tokens,
        "web_searches": counts.web_searches,
        "estimated": counts.estimated,
        "cost": cost.amount if cost is not None else None,
        "price": cost.price if cost is not None else None,
    }
    return msgspec.json.encode(told).decode()
