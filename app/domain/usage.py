"""Token counts of one completion, as they are billed."""

from typing import Annotated, Final, Self

import msgspec

# More than any model takes or writes: what is beyond is no count, and would not fit into the ledger.
Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class _ServerToolUse(msgspec.Struct, frozen=True):
    web_search_requests: Count = 0


class _Told(msgspec.Struct, frozen=True):
    """`usage` of the Messages API (its reference, "Messages")."""

    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerToolUse | None = None
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    estimated: bool = False


class Counts(msgspec.Struct, frozen=True):
    """What was counted. The four kinds of input do not overlap.

    `service_tier`, `speed` and `inference_geo` are those that served it, where the upstream tells.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    service_tier: str | None = None
    speed: str | None = None
    inference_geo: str | None = None
    estimated: bool = False

    @classmethod
    def of(cls, usage: bytes) -> Self:
        """The counts in a `usage` object. One that cannot be read counts nothing, and is an estimate."""
        try:
            told = msgspec.json.decode(usage, type=_Told)
        except msgspec.ValidationError:
            return cls(estimated=True)
        written = told.cache_creation_input_tokens or 0
        for_an_hour = min(told.cache_creation.ephemeral_1h_input_tokens, written) if told.cache_creation else 0
        return cls(
            input_tokens=told.input_tokens or 0,
            output_tokens=told.output_tokens or 0,
            cache_read_tokens=told.cache_read_input_tokens or 0,
            cache_write_5m_tokens=written - for_an_hour,
            cache_write_1h_tokens=for_an_hour,
            web_searches=told.server_tool_use.web_search_requests if told.server_tool_use else 0,
            service_tier=told.service_tier,
            speed=told.speed,
            inference_geo=told.inference_geo,
            estimated=told.estimated,
        )

    @property
    def all_input(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


NOTHING: Final = Counts()
