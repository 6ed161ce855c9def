"""LangChain's two ways to call a chat model, sync and async, behind one face."""

import asyncio
import time
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, Final, Protocol

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.runnables import Runnable

Chat = Runnable[Any, AIMessage]


@dataclass
class Streamed:
    """Chunks and when they came; those of a stream that broke are kept too."""

    chunks: list[AIMessageChunk] = field(default_factory=list)
    arrivals: list[float] = field(default_factory=list)

    def add(self, chunk: Any) -> None:
        assert isinstance(chunk, AIMessageChunk)
        self.chunks.append(chunk)
        self.arrivals.append(time.monotonic())

    @property
    def whole(self) -> AIMessageChunk:
        """As LangChain adds chunks up."""
        return reduce(add, self.chunks)


class Calls(Protocol):
    async def invoke(self, chat: Chat, input: Any) -> AIMessage: ...

    async def stream(self, chat: Chat, input: Any, streamed: Streamed) -> None: ...

    async def leave(self, chat: Chat, input: Any) -> float:
        """Read the first piece of text, then close the stream; the Unix time of that."""


class SyncCalls:
    async def invoke(self, chat: Chat, input: Any) -> AIMessage:
        return await asyncio.to_thread(chat.invoke, input)

    async def stream(self, chat: Chat, input: Any, streamed: Streamed) -> None:
        def read() -> None:
            for chunk in chat.stream(input):
                streamed.add(chunk)

        await asyncio.to_thread(read)

    async def leave(self, chat: Chat, input: Any) -> float:
        def read() -> None:
            stream: Any = chat.stream(input)
            with closing(stream):
                next(chunk for chunk in stream if chunk.text)

        await asyncio.to_thread(read)
        return time.time()


class AsyncCalls:
    async def invoke(self, chat: Chat, input: Any) -> AIMessage:
        return await chat.ainvoke(input)

    async def stream(self, chat: Chat, input: Any, streamed: Streamed) -> None:
        async for chunk in chat.astream(input):
            streamed.add(chunk)

    async def leave(self, chat: Chat, input: Any) -> float:
        stream: Any = chat.astream(input)
        async with aclosing(stream):
            async for chunk in stream:
                if chunk.text:
                    break
        return time.time()


KINDS: Final[dict[str, Calls]] = {"sync": SyncCalls(), "async": AsyncCalls()}
