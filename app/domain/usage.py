"""Token counts of one completion, as they are billed."""

from typing import Final, Self

import msgspec


class _CacheCreation(msgspec.Struct, frozen=True):
    ephemeral_5m_input_tokens: int = 0
    ephemeral_1h_input_tokens: int = 0


class _ServerToolUse(msgspec.Struct, frozen=True):
    web_search_requests: int = 0


class _Told(msgspec.Struct, frozen=True):
    """`usage` of the Messages API (its reference, "Messages")."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    server_tool_use: _ServerToolUse | None = None
    service_tier: str | None = None
    estimated: bool = False


class Counts(msgspec.Struct, frozen=True):
    """What was counted. The four kinds of input do not overlap; `service_tier` is the one that served it."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    web_searches: int = 0
    service_tier: str | None = None
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
            estimated=told.estimated,
        )

    @property
    def all_input(self) -> int:
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


NOTHING: Final = Counts()
