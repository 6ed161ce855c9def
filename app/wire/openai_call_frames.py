"""From calls of tools that the upstream runs itself to the frames and the items of OpenAI's Responses API.

Other items may come between a call and its result: so its item has its place in the output from its start on.
"""

from typing import Any
from uuid import UUID

from app.domain.message import Block
from app.wire.openai_frames import Frames
from app.wire.openai_items import COMPLETED, IN_PROGRESS, INCOMPLETE, Item, item_id, string
from app.wire.openai_server_calls import MCP, answered_by, arguments_of, call, with_result


class CallFrames:
    def __init__(self, completion: UUID, frames: Frames, output: list[Item]) -> None:
        self._completion = completion
        self._frames = frames
        self._output = output
        self._waiting: dict[str, int] = {}  # places in the output of calls without a result, by the upstream's ids
        self._arguments: list[str] = []  # of the call that grows, which is the last item

    def start(self, item_type: str, block: Block) -> None:
        index, fields = len(self._output), block.fields()
        item = call(item_id(self._completion, item_type, index), item_type, IN_PROGRESS, fields)
        self._arguments = []
        self._waiting[string(fields.get("id"))] = index
        self._output.append(item | ({"arguments": ""} if item_type == MCP else {}))
        self._frames.add(b"response.output_item.added", {"output_index": index, "item": self._output[index]})
        self._tell(index, ".in_progress")

    def grow(self, piece: str) -> None:
        """More of its input: only that of an MCP tool is told as it comes."""
        if self._output[-1]["type"] == MCP:
            self._arguments.append(piece)
            self._tell(-1, "_arguments.delta", delta=piece)

    def stop(self, block: Block) -> None:
        """The call is whole; the upstream goes to work on it."""
        before = self._output[-1]
        item = self._output[-1] = call(before["id"], before["type"], IN_PROGRESS, block.fields())
        match item["type"]:
            case "web_search_call":
                self._tell(-1, ".searching")
            case "code_interpreter_call":
                self._tell(-1, "_code.delta", delta=item["code"])
                self._tell(-1, "_code.done", code=item["code"])
                self._tell(-1, ".interpreting")
            case _:
                if not self._arguments:
                    self.grow(arguments_of(block.fields()))
                item["arguments"] = "".join(self._arguments)
                self._tell(-1, "_arguments.done", arguments=item["arguments"])

    def result(self, block: Block) -> None:
        fields = block.fields()
        index = self._waiting.pop(answered_by(fields) or "", None)
        if index is None:
            return
        item = self._output[index] = with_result(self._output[index], fields)
        if item["status"] == COMPLETED:
            self._tell(index, ".completed")
        elif item["type"] == MCP:  # the others have no such event
            self._tell(index, ".failed")
        self._done(index)

    def close(self) -> None:
        """The end of the answer: what has no result yet will have none in it."""
        waiting = list(self._waiting.values())
        self.give_up()
        for index in waiting:
            self._done(index)

    def give_up(self) -> None:
        for index in self._waiting.values():
            self._output[index] |= {"status": INCOMPLETE}
        self._waiting.clear()

    def _done(self, index: int) -> None:
        self._frames.add(b"response.output_item.done", {"output_index": index, "item": self._output[index]})

    def _tell(self, index: int, what: str, **fields: Any) -> None:
        item = self._output[index]
        place = {"item_id": item["id"], "output_index": index % len(self._output)}
        self._frames.add(f"response.{item['type']}{what}".encode(), {**place, **fields})
