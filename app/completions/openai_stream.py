"""A stored completion as a stream of OpenAI's Responses API: the one dialect that tells the request back."""

from contextlib import AbstractContextManager

import msgspec
from starlette.responses import Response

from app.completions.repository import CompletionRow
from app.completions.responses import event_stream
from app.config import Settings
from app.streaming.log import Log
from app.wire.openai_response import Head
from app.wire.openai_responses import OpenAIResponsesEncoder


def stored_head(row: CompletionRow) -> Head:
    """Of a request that is not stored any more, the response tells nothing."""
    return Head(
        id=row.id,
        model=row.model,
        request=msgspec.json.decode(row.request) if row.request is not None else {},
        metadata=row.metadata,
        previous_id=row.previous_id,
        conversation_id=row.conversation_id,
        store=row.store,
        background=row.background,
    )


def response_stream(
    row: CompletionRow,
    source: AbstractContextManager[Log],
    settings: Settings,
    *,
    after: int = 0,
    starting_after: int = -1,
) -> Response:
    """Everything past the position `after` in the log, of that what comes behind the frame `starting_after`."""
    encoder = OpenAIResponsesEncoder(stored_head(row), starting_after)
    opening = b"" if after else encoder.begin()
    return event_stream(source, encoder, settings, after=after, opening=opening)
