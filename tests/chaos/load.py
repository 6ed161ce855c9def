"""Many requests of every kind, with everything that may go wrong in them, from one seed."""

import asyncio
import random
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import aiohttp

from local.upstream.errors import KINDS
from local.upstream.faults import FAULTS

PATHS: Final = ("/v1/completions", "/v1/messages", "/v1/chat/completions", "/v1/responses", "/api/chat")
# 504 may come late: nobody knows whether the upstream had begun.
REFUSALS: Final = frozenset({*(str(status) for status in KINDS if status != 504), "error-first"})
TROUBLES: Final = sorted({*FAULTS, *map(str, KINDS)} - {"ok"})
# Not so long that they hold up the rest.
_PACES: Final = {
    "slow-first-byte": "first_ms=600",
    "slow-first-event": "first_ms=600",
    "endless": "rate=100",
}
_PRICES: Final = ("input", "output", "cache_read", "cache_write", "cache_write_1h", "web_searches")

Whim = Literal["read", "leave", "cancel", "repeat"]


@dataclass(frozen=True)
class Plan:
    """One request, sent more than once where its whim is to repeat it. No other has its model's name."""

    number: int
    path: str
    fault: str
    model: str
    prices: dict[str, Decimal]
    whim: Whim
    stream: bool
    store: bool
    on_disconnect: str
    question: list[dict[str, Any]]
    holder: int
    first: bool

    @property
    def headers(self) -> dict[str, str]:
        again = {"idempotency-key": f"plan {self.number}"} if self.whim == "repeat" else {}
        return {"x-on-disconnect": self.on_disconnect, "x-store": str(self.store).lower(), **again}

    @property
    def body(self) -> dict[str, Any]:
        text = f"Question {self.number}."
        messages = [{"role": "user", "content": self.question}]
        common = {"model": self.model, "stream": self.stream}
        match self.path:
            case "/v1/completions":
                ours = {"store": self.store, "on_disconnect": self.on_disconnect}
                return {**common, **ours, "input": messages, "max_tokens": 5_000}
            case "/v1/messages":
                return {**common, "messages": messages, "max_tokens": 5_000}
            case "/v1/chat/completions":
                return {**common, "messages": [{"role": "user", "content": text}]}
            case "/v1/responses":
                return {**common, "input": text, "background": not self.stream and self.number % 3 == 0}
        message = {"id": f"u{self.number}", "role": "user", "parts": [{"type": "text", "text": text}]}
        return {"model": self.model, "id": f"chat-{self.number}", "messages": [message]}

    def cost(self, counts: dict[str, int]) -> Decimal:
        """Worked out by hand: tokens by the million, searches by the thousand."""
        tokens = (
            counts["input_tokens"] * self.prices["input"]
            + counts["output_tokens"] * self.prices["output"]
            + counts["cache_read_tokens"] * self.prices["cache_read"]
            + counts["cache_write_5m_tokens"] * self.prices["cache_write"]
            + counts["cache_write_1h_tokens"] * self.prices["cache_write_1h"]
        )
        return tokens / 1_000_000 + counts["web_searches"] * self.prices["web_searches"] / 1_000


def plans(count: int, seed: int) -> list[Plan]:
    """Every fault is among them, however few there are."""
    of = random.Random(seed)
    faults = [*TROUBLES, *of.choices(TROUBLES, k=count * 2 // 5)]
    faults += ["ok"] * (count - len(faults))
    of.shuffle(faults)
    return [_plan(of, number, fault) for number, fault in enumerate(faults[:count])]


def _plan(of: random.Random, number: int, fault: str) -> Plan:
    whim: Whim = of.choices(["read", "leave", "cancel", "repeat"], [5, 2, 3, 2])[0]  # type: ignore[assignment]
    searches = of.choice([0, 0, 0, of.randint(1, 9)])
    return Plan(
        number=number,
        path=of.choice(PATHS),
        fault=fault,
        model=f"sim-{fault}?key=plan-{number}&searches={searches}&{_pace(of, fault, whim)}",
        prices={name: Decimal(of.randint(1, 99_999)).scaleb(-3) for name in _PRICES},
        whim=whim,
        stream=of.random() < 0.7,
        store=of.random() < 0.8,
        on_disconnect=of.choice(["continue", "cancel"]),
        question=_question(of, number),
        holder=of.randrange(3),
        first=of.random() < 0.5,
    )


def _pace(of: random.Random, fault: str, whim: Whim) -> str:
    """What somebody leaves or cancels takes seconds, so that there is a middle to do it in."""
    if fault in _PACES:
        return f"tokens={of.randint(3, 60)}&{_PACES[fault]}"
    if whim in ("leave", "cancel"):
        return f"tokens={of.randint(60, 120)}&rate=40"
    return f"tokens={of.randint(3, 60)}&rate={of.choice([0, 0, 200])}"


def _question(of: random.Random, number: int) -> list[dict[str, Any]]:
    """Some of it is to be kept in the upstream's cache."""
    asked = {"type": "text", "text": f"Question {number}. " + "Tell me more. " * of.randrange(20)}
    ttl = of.choice([None, None, "5m", "1h"])
    return [asked | ({"cache_control": {"type": "ephemeral", "ttl": ttl}} if ttl else {})]


def models_file(plans: list[Plan]) -> str:
    return "\n".join(
        f'[models."{plan.model}".price]\n' + "\n".join(f"{name} = {price}" for name, price in plan.prices.items())
        for plan in plans
    )


class Sender:
    """Sends plans to the instances that live, whatever comes of them."""

    def __init__(self, session: aiohttp.ClientSession, urls: list[str], keys: list[str], seed: int) -> None:
        self._session = session
        self._keys = keys
        self._of = random.Random(seed)
        self.urls = urls

    async def send(self, plan: Plan) -> None:
        if plan.whim == "repeat":
            await asyncio.gather(self._once(plan), self._once(plan, anywhere=True))
        await self._once(plan)

    async def _once(self, plan: Plan, *, anywhere: bool = False) -> None:
        url = self._of.choice(self.urls) if anywhere else self.urls[0 if plan.first else -1]
        key = {"authorization": f"Bearer {self._keys[plan.holder]}"}
        # An instance that was killed answers nothing; one that holds a stream may be killed.
        with suppress(aiohttp.ClientError, OSError, TimeoutError):
            timeout = aiohttp.ClientTimeout(total=0.5 if plan.whim == "leave" and not plan.stream else 60)
            async with self._session.post(
                url + plan.path, json=plan.body, headers=plan.headers | key, timeout=timeout
            ) as response:
                if plan.whim == "leave":
                    await response.content.readany()
                    return  # in the middle, which closes the connection
                if plan.whim == "cancel" and response.status == 200:
                    await self._cancel(response.headers["x-completion-id"], key)
                await response.read()

    async def _cancel(self, id: str, key: dict[str, str]) -> None:
        await asyncio.sleep(self._of.random() / 4)
        async with self._session.post(f"{self._of.choice(self.urls)}/v1/completions/{id}/cancel", headers=key) as asked:
            await asked.read()
