"""Token counts, read from what the upstream tells of its usage."""

import pytest

from app.domain.usage import Counts


def test_every_kind_has_its_place_and_none_is_counted_twice() -> None:
    told = b"""{
        "input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 9,
        "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 4},
        "server_tool_use": {"web_search_requests": 6, "web_fetch_requests": 7},
        "service_tier": "standard", "speed": "fast", "inference_geo": "us", "future": [1]
    }"""
    counts = Counts(
        input_tokens=1,
        output_tokens=2,
        cache_read_tokens=3,
        cache_write_5m_tokens=5,
        cache_write_1h_tokens=4,
        web_searches=6,
        service_tier="standard",
        speed="fast",
        inference_geo="us",
    )
    assert Counts.of(told) == counts
    assert counts.all_input == 13


@pytest.mark.parametrize(
    ("told", "counts"),
    [
        (b"{}", Counts()),
        (b'{"input_tokens": null, "cache_creation": null, "server_tool_use": null}', Counts()),
        (b'{"cache_creation_input_tokens": 9}', Counts(cache_write_5m_tokens=9)),
        (
            b'{"cache_creation_input_tokens": 3, "cache_creation": {"ephemeral_1h_input_tokens": 4}}',
            Counts(cache_write_1h_tokens=3),
        ),
        (b'{"output_tokens": 2, "estimated": true}', Counts(output_tokens=2, estimated=True)),
    ],
)
def test_what_is_left_out_is_nothing(told: bytes, counts: Counts) -> None:
    assert Counts.of(told) == counts


@pytest.mark.parametrize(
    "told",
    [
        b"[]",
        b'{"input_tokens": "many"}',
        b'{"input_tokens": 1.5}',
        b'{"input_tokens": -1}',
        b'{"output_tokens": 1000000001}',
        b'{"output_tokens": 100000000000000000000000000000000}',
        b'{"server_tool_use": {"web_search_requests": -1}}',
    ],
)
def test_what_is_no_count_is_an_estimate_of_nothing(told: bytes) -> None:
    assert Counts.of(told) == Counts(estimated=True)
