"""`/v1/conversations` and their messages."""

from typing import Final

from app.conversations import endpoints
from app.conversations.schemas import (
    ConversationChange,
    ConversationOut,
    ConversationPage,
    MessageList,
    MessagePage,
    NewConversation,
    NewMessages,
)
from app.domain.errors import Conflict, NotFound, Unprocessable
from app.openapi.errors import BAD_CURSOR, BUSY, INVALID, NO_CONVERSATION, REPEATED
from app.openapi.operation import Answer, Body, Operation, Subject

_MESSAGE: Final = {"role": "user", "content": "My kettle leaks."}
_TAKEN: Final = Conflict(
    "There is a conversation with this external_id.", code="external_id_taken", param="external_id"
)
_ROLE: Final = Unprocessable("role: Invalid enum value 'robot'", param="role")
_TITLE: Final = Unprocessable("title: Expected `str | null`, got `int`", param="title")

SUBJECT: Final = Subject(
    operations={
        "create_conversation": Operation(
            endpoint=endpoints.create_conversation,
            takes=Body(
                types=[NewConversation],
                examples={
                    "whole": {
                        "external_id": "order-4711",
                        "title": "A broken kettle",
                        "system": "You answer for a shop of household goods.",
                        "metadata": {"customer": 42},
                    },
                    "empty": {},
                    "begun": {"messages": [_MESSAGE, {"role": "assistant", "content": "Since when?"}]},
                },
            ),
            answers=[
                Answer(
                    status=201,
                    description="The conversation.",
                    json=ConversationOut,
                    headers=["location", "idempotent-replayed"],
                )
            ],
            errors=[_TITLE, _TAKEN, *REPEATED],
        ),
        "list_conversations": Operation(
            endpoint=endpoints.list_conversations,
            answers=[Answer(description="A page of conversations.", json=ConversationPage)],
            errors=[BAD_CURSOR, INVALID],
        ),
        "get_conversation": Operation(
            endpoint=endpoints.get_conversation,
            answers=[Answer(description="The conversation.", json=ConversationOut)],
            errors=[NO_CONVERSATION],
        ),
        "change_conversation": Operation(
            endpoint=endpoints.change_conversation,
            takes=Body(
                types=[ConversationChange],
                examples={"rename": {"title": "A mended kettle"}, "clear": {"system": None}},
            ),
            answers=[Answer(description="The conversation as it is now.", json=ConversationOut)],
            errors=[_TITLE, _TAKEN, NO_CONVERSATION],
        ),
        "delete_conversation": Operation(
            endpoint=endpoints.delete_conversation,
            answers=[Answer(status=204, description="It is deleted.")],
            errors=[NO_CONVERSATION, BUSY],
        ),
        "list_messages": Operation(
            endpoint=endpoints.list_messages,
            answers=[Answer(description="A page of messages.", json=MessagePage)],
            errors=[NO_CONVERSATION, BAD_CURSOR, INVALID],
        ),
        "append_messages": Operation(
            endpoint=endpoints.append_messages,
            takes=Body(
                types=[NewMessages],
                examples={"one": _MESSAGE, "several": [_MESSAGE, {"role": "assistant", "content": "Since when?"}]},
            ),
            answers=[
                Answer(
                    status=201,
                    description="The messages, with their positions.",
                    json=MessageList,
                    headers=["idempotent-replayed"],
                )
            ],
            errors=[_ROLE, NO_CONVERSATION, BUSY, *REPEATED],
        ),
        "delete_last_message": Operation(
            endpoint=endpoints.delete_last_message,
            answers=[Answer(status=204, description="It is deleted.")],
            errors=[NO_CONVERSATION, NotFound("This conversation has no messages.", code="no_messages"), BUSY],
        ),
    }
)
