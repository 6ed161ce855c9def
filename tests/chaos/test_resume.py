"""A stream that was begun on one instance is read on from another: nothing twice, nothing missing."""

import asyncio

from tests.chaos.streams import Client, Stream, strictly_increasing

SLOW_TEXT = "sim-ok?rate=60&tokens=120&first_ms=0"


async def begun_and_dropped(client: Client, model: str = SLOW_TEXT, frames: int = 30, **fields: object) -> Stream:
    head = await (await client.create(model, **fields)).until(frames)
    head.drop()
    return head


def whole(head: Stream, tail: Stream) -> bool:
    """No position twice, none out of order, and the end is there."""
    return strictly_increasing([*head.ids, *tail.ids]) and tail.done and not tail.broken


async def test_a_stream_cut_on_one_instance_is_read_on_from_another(both: tuple[Client, Client]) -> None:
    a, b = both
    head = await begun_and_dropped(a)
    tail = await (await b.resume(head.id, last_event_id=head.last_id)).to_end()

    assert whole(head, tail)
    stored = await b.get(head.id)
    assert stored["status"] == "completed"
    assert head.text + tail.text == stored["text"]
    assert head.text
    assert len(tail.frames) > 50, "it was read live, not after the fact"
    assert tail.frames[-1].at - tail.frames[0].at > 0.5


async def test_three_readers_on_another_instance_each_get_the_rest(both: tuple[Client, Client]) -> None:
    a, b = both
    head = await begun_and_dropped(a)
    positions = [head.ids[3], head.ids[15], head.last_id]
    tails = await asyncio.gather(*[b.resume(head.id, last_event_id=position) for position in positions])
    await asyncio.gather(*[tail.to_end() for tail in tails])

    stored = await b.get(head.id)
    for position, tail in zip(positions, tails, strict=True):
        seen = [frame for frame in head.frames if frame.id is not None and frame.id <= position]
        assert tail.ids[0] > position
        assert strictly_increasing(tail.ids)
        assert "".join(frame.text for frame in seen) + tail.text == stored["text"]
        assert tail.done


async def test_the_position_may_come_as_a_query_parameter(both: tuple[Client, Client]) -> None:
    a, b = both
    head = await begun_and_dropped(a)
    tail = await (await b.resume(head.id, after=head.last_id)).to_end()
    assert whole(head, tail)
    assert head.text + tail.text == (await b.get(head.id))["text"]


async def test_a_stream_begun_in_one_dialect_is_read_on_in_another(both: tuple[Client, Client]) -> None:
    a, b = both
    head = await begun_and_dropped(a)
    tail = await (await b.resume(head.id, last_event_id=head.last_id, dialect="anthropic_messages")).to_end()
    assert whole(head, tail)
    assert head.text + tail.text == (await b.get(head.id))["text"]
    positions = tail.ids
    assert positions == list(range(head.last_id + 1, positions[-1] + 1)), "every event has its frame in this dialect"


async def test_the_whole_stream_read_elsewhere_has_the_same_frames(both: tuple[Client, Client]) -> None:
    a, b = both
    here = await a.create(SLOW_TEXT)
    await here.until(10)
    elsewhere = await b.resume(here.id)
    await asyncio.gather(here.to_end(), elsewhere.to_end())
    late = await (await b.resume(here.id)).to_end()

    def frames(stream: Stream) -> list[tuple[int | None, str, str]]:
        return [(frame.id, frame.event, frame.data) for frame in stream.frames]

    assert frames(here) == frames(elsewhere) == frames(late)


async def test_a_stream_is_read_on_from_its_own_instance(both: tuple[Client, Client]) -> None:
    a, _ = both
    head = await begun_and_dropped(a)
    tail = await (await a.resume(head.id, last_event_id=head.last_id)).to_end()
    assert whole(head, tail)
    assert head.text + tail.text == (await a.get(head.id))["text"]


async def test_the_terminal_position_has_nothing_after_it(both: tuple[Client, Client]) -> None:
    a, _ = both
    stream = await (await a.create("sim-ok?tokens=3")).to_end()
    for client in both:
        assert (await client.resume(stream.id, last_event_id=stream.last_id)).status == 204
        assert (await client.resume(stream.id, last_event_id=stream.last_id - 1)).status == 200
        assert (await client.resume(stream.id, last_event_id=stream.last_id + 1)).status == 400


async def test_thinking_and_tools_are_read_on_without_loss(both: tuple[Client, Client]) -> None:
    a, b = both
    tools = [{"name": "weather", "description": "w", "input_schema": {"properties": {"city": {"type": "string"}}}}]
    asked = {
        "tools": tools,
        "tool_choice": {"type": "any"},
        "input": "Call the tool weather for Paris, with a city of some length.",
    }
    head = await begun_and_dropped(a, "sim-ok?rate=20", frames=4, **asked)
    tail = await (await b.resume(head.id, last_event_id=head.last_id, dialect="plain")).to_end()
    assert whole(head, tail)
    everything = await (await b.resume(head.id)).to_end()
    assert [(frame.id, frame.data) for frame in [*head.frames, *tail.frames]] == [
        (frame.id, frame.data) for frame in everything.frames
    ]
