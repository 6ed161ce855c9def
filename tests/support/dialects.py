"""The five dialects as a careful client has them: how to ask, and what an answer says of its end.

A reader believes nothing that a dialect does not promise: an end has to be told, once, with nothing behind it.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import httpx

from tests.support.headwater import frames, text_of
from tests.support.sse import sent_events
from tests.support.ui_message import chunks_of, message_of

Json = dict[str, Any]
Way = Literal["stream", "whole", "polled"]

QUESTION: Final = "What is unicode?"


@dataclass(frozen=True)
class Told:
    """What an answer said: how it ended, in the words of docs/ends.md, its text, and of an error its type."""

    end: tuple[str, ...]
    text: str = ""
    type: str | None = None


class Dialect:
    """`stored` is its name where a stored stream is read."""

    name: ClassVar[str]
    path: ClassVar[str]
    stored: ClassVar[str]
    ways: ClassVar[tuple[Way, ...]] = ("stream", "whole")

    def body(self, model: str, question: str = QUESTION) -> Json:
        """A request, without the word on streaming."""
        raise NotImplementedError

    async def ask(self, client: httpx.AsyncClient, model: str, way: Way, **fields: Any) -> httpx.Response:
        return await client.post(self.path, json={**self.body(model), **self.wish(way), **fields})

    def wish(self, way: Way) -> Json:
        return {"stream": way == "stream"}

    def told(self, response: httpx.Response) -> Told:
        if response.status_code != 200:
            return self.refused(response)
        if response.headers["content-type"] == "text/event-stream":
            return self.streamed(response.content)
        assert response.headers["content-type"] == "application/json"
        return self.whole(response.json())

    def refused(self, response: httpx.Response) -> Told:
        raise NotImplementedError

    def streamed(self, body: bytes) -> Told:
        raise NotImplementedError

    def whole(self, answer: Json) -> Told:
        raise NotImplementedError


class Plain(Dialect):
    name, path, stored = "plain", "/v1/completions", "plain"

    def body(self, model: str, question: str = QUESTION) -> Json:
        return {"model": model, "input": question, "max_tokens": 2000}

    def refused(self, response: httpx.Response) -> Told:
        assert response.headers["content-type"] == "application/problem+json"
        body = response.json()
        assert body["request_id"] == response.headers["request-id"]
        assert body["status"] == response.status_code
        assert body["title"]
        assert body["detail"]
        return Told((str(response.status_code), body["type"].removeprefix("/problems/")))

    def streamed(self, body: bytes) -> Told:
        *told, last = frames(body.decode())
        assert not any(frame.event == "error" or frame.data == "[DONE]" for frame in told)
        if last.event == "error":
            error = last.data["error"]
            assert error["message"]
            return Told(("error", error["code"]), text_of(told), error["type"])
        (usage,) = [frame.data for frame in told if frame.event == "usage"]
        return Told((usage["stop_reason"], last.data), text_of(told))

    def whole(self, answer: Json) -> Told:
        assert answer["error"] is None
        assert answer["text"] == _text(answer["content"])
        return Told(("200", answer["stop_reason"]), answer["text"])


class Messages(Dialect):
    name, path, stored = "messages", "/v1/messages", "anthropic_messages"

    def body(self, model: str, question: str = QUESTION) -> Json:
        return {"model": model, "messages": [{"role": "user", "content": question}], "max_tokens": 2000}

    def refused(self, response: httpx.Response) -> Told:
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert (body["type"], body["request_id"]) == ("error", response.headers["request-id"])
        assert body["error"]["message"]
        return Told((str(response.status_code), body["error"]["details"]["error_code"]), type=body["error"]["type"])

    def streamed(self, body: bytes) -> Told:
        *told, last = frames(body.decode())
        assert [frame.event for frame in told] == [frame.data["type"] for frame in told]
        assert not {"error", "message_stop"} & {frame.event for frame in told}
        if last.event == "error":
            error = last.data["error"]
            assert error["message"]
            return Told(("error", error["details"]["error_code"]), text_of(told), error["type"])
        (delta,) = [frame.data["delta"] for frame in told if frame.event == "message_delta"]
        return Told((delta["stop_reason"], last.event), text_of(told))

    def whole(self, answer: Json) -> Told:
        assert answer["type"] == "message"
        return Told(("200", answer["stop_reason"]), _text(answer["content"]))


class OpenAI(Dialect):
    """Both of OpenAI's dialects tell errors alike."""

    def refused(self, response: httpx.Response) -> Told:
        assert response.headers["content-type"] == "application/json"
        body = response.json()
        assert set(body) == {"error"}
        error = body["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        return Told((str(response.status_code), str(error["code"])), type=error["type"])


class Chat(OpenAI):
    name, path, stored = "chat", "/v1/chat/completions", "openai_chat"

    def body(self, model: str, question: str = QUESTION) -> Json:
        return {"model": model, "messages": [{"role": "user", "content": question}]}

    def streamed(self, body: bytes) -> Told:
        *told, done = [frame.data for frame in frames(body.decode())]
        assert done == "[DONE]"
        assert done not in told
        errors = [chunk["error"] for chunk in told if "error" in chunk]
        choices = [choice for chunk in told for choice in chunk.get("choices", [])]
        reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"] is not None]
        text = "".join(choice["delta"].get("content") or "" for choice in choices)
        if not errors:
            (reason,) = reasons
            return Told((reason, done), text)
        (error,) = errors
        assert told[-1] == {"error": error}
        assert error["message"]
        assert not reasons
        return Told(("error", error["code"], done), text, error["type"])

    def whole(self, answer: Json) -> Told:
        (choice,) = answer["choices"]
        return Told(("200", choice["finish_reason"]), choice["message"]["content"] or "")


class Responses(OpenAI):
    name, path, stored = "responses", "/v1/responses", "openai_responses"
    ways = ("stream", "whole", "polled")

    def body(self, model: str, question: str = QUESTION) -> Json:
        return {"model": model, "input": question}

    def wish(self, way: Way) -> Json:
        return {"stream": way == "stream", "background": way == "polled"}

    def streamed(self, body: bytes) -> Told:
        events = sent_events(body)
        assert [event.event for event in events] == [event.data["type"] for event in events]
        assert [event.data["sequence_number"] for event in events] == list(range(len(events)))
        ends = ("response.completed", "response.incomplete", "response.failed")
        assert [event.event in ends for event in events] == [False] * (len(events) - 1) + [True]
        text = "".join(event.data["delta"] for event in events if event.event == "response.output_text.delta")
        told = self.polled(events[-1].data["response"])
        assert told.text == text
        status, *why = told.end
        # No event of theirs says that it was cancelled.
        assert events[-1].event == f"response.{'failed' if status == 'cancelled' else status}"
        return Told((events[-1].event, *why), text, told.type)

    def whole(self, answer: Json) -> Told:
        assert answer["status"] in ("completed", "incomplete")
        told = self.polled(answer)
        return Told(("200", *told.end), told.text)

    def polled(self, response: Json) -> Told:
        """What the object says, once it has ended."""
        parts = [part for item in response["output"] if item["type"] == "message" for part in item["content"]]
        text = "".join(part["text"] for part in parts if part["type"] == "output_text")
        status, error, details = response["status"], response["error"], response["incomplete_details"]
        assert (error is not None) == (status in ("failed", "cancelled"))
        assert (details is not None) == (status == "incomplete")
        if error is not None:
            assert error["message"]
            return Told((status, error["type"]), text, error["code"])
        return Told((status, details["reason"]) if details else (status,), text)


class Ui(Dialect):
    name, path, stored = "ui", "/api/chat", "ui_message"
    ways = ("stream",)

    def body(self, model: str, question: str = QUESTION) -> Json:
        """Every request is a chat of its own: its model has a name of its own."""
        message = {"id": "m", "role": "user", "parts": [{"type": "text", "text": question}]}
        return {"model": model, "id": f"chat of {model}", "messages": [message], "trigger": "submit-message"}

    def wish(self, way: Way) -> Json:
        return {}

    def refused(self, response: httpx.Response) -> Told:
        """A page shows the text as it is."""
        assert response.headers["content-type"].startswith("text/plain")
        assert 0 < len(response.text) < 300
        assert not response.text.startswith("{")
        return Told((str(response.status_code),))

    def streamed(self, body: bytes) -> Told:
        chunks = chunks_of(body)
        message = message_of(chunks)
        assert all(part["state"] == "done" for part in message.parts if part["type"] == "text")
        end: str = chunks[-1]["type"]
        return Told((end, message.finish_reason) if message.finish_reason else (end,), message.text)


PLAIN, MESSAGES, CHAT, RESPONSES, UI = Plain(), Messages(), Chat(), Responses(), Ui()
DIALECTS: Final[tuple[Dialect, ...]] = (PLAIN, MESSAGES, CHAT, RESPONSES, UI)


def _text(content: list[Json]) -> str:
    return "".join(block["text"] for block in content if block["type"] == "text")
