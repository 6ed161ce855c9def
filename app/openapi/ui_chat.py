"""What `useChat` of the AI SDK calls."""

from typing import Final

from app.dialects import ui_chat, ui_history
from app.dialects.ui_request import PASSED_ON, ChatRequest, Extras
from app.domain.errors import InvalidRequest, Unprocessable
from app.openapi import errors
from app.openapi.headers import COMPLETION
from app.openapi.operation import Answer, Body, Operation, Subject

_VERSION: Final = "x-vercel-ai-ui-message-stream"
_STREAM: Final = (
    "The AI SDK's UI message stream, from `start` to `data: [DONE]`. An answer that was stopped ends with an `abort` "
    "part, one that failed with an `error` part."
)

SUBJECT: Final = Subject(
    prefix="Ui",
    operations={
        "send_chat_message": Operation(
            endpoint=ui_chat.send,
            takes=Body(
                types=[ChatRequest, Extras],
                open=dict.fromkeys(PASSED_ON, "As in the Messages API; judged by the upstream."),
                examples={
                    "message": {
                        "id": "a-chat",
                        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Say hello."}]}],
                        "trigger": "submit-message",
                        "model": "claude-sim",
                        "max_tokens": 5,
                    },
                    "another answer": {
                        "id": "a-chat",
                        "messages": [{"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Say hello."}]}],
                        "trigger": "regenerate-message",
                    },
                },
            ),
            answers=[
                Answer(description="The answer as it is written.", stream=_STREAM, headers=[*COMPLETION, _VERSION])
            ],
            errors=[
                InvalidRequest("There is nothing to answer in this chat.", code="nothing_to_answer"),
                Unprocessable("The message is empty.", param="messages"),
                ui_history.no_such_chat(),
                errors.BUSY,
                *errors.LIMITS,
                *errors.UPSTREAM,
            ],
        ),
        "resume_chat": Operation(
            endpoint=ui_chat.resume,
            answers=[
                Answer(
                    description="The running answer from its start.",
                    stream=_STREAM,
                    headers=["x-completion-id", _VERSION],
                ),
                Answer(status=204, description="Nothing is being written."),
            ],
            errors=[ui_history.no_such_chat()],
        ),
        "stop_chat": Operation(
            endpoint=ui_chat.stop,
            answers=[Answer(status=204, description="Nothing is being written any more.")],
            errors=[ui_history.no_such_chat()],
        ),
    },
)
