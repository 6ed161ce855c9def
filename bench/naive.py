"""The textbook server, to measure against: FastAPI, the official SDK and sse-starlette, one JSON event a delta.

`python -m bench.naive PORT`. It records nothing, knows no keys, and what a client has missed is lost.
"""

import json
import sys
from collections.abc import AsyncIterator

import uvicorn
from anthropic import AsyncAnthropic
from fastapi import FastAPI
from pydantic import BaseModel
from sse_starlette import EventSourceResponse

app = FastAPI()
_client = AsyncAnthropic(max_retries=0)


class Prompt(BaseModel):
    model: str
    input: str
    max_tokens: int = 1024


async def deltas(prompt: Prompt) -> AsyncIterator[str]:
    messages = [{"role": "user", "content": prompt.input}]
    async with _client.messages.stream(model=prompt.model, max_tokens=prompt.max_tokens, messages=messages) as stream:  # type: ignore[arg-type]
        async for text in stream.text_stream:
            yield json.dumps({"text": text})
    yield "[DONE]"


@app.get("/livez")
async def livez() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/v1/completions")
async def complete(prompt: Prompt) -> EventSourceResponse:
    return EventSourceResponse(deltas(prompt))


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="warning")
