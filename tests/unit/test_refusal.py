"""Why a model refused is kept, whatever the upstream says of it."""

import json

import pytest

from app.domain.events import parse
from app.domain.message import MessageFold

DETAILS = {"type": "refusal", "category": None, "explanation": "No."}


@pytest.mark.parametrize(
    ("delta", "kept"), [({"stop_details": DETAILS}, {"stop_details": DETAILS}), ({"stop_details": None}, {}), ({}, {})]
)
def test_stop_details(delta: dict[str, object], kept: dict[str, object]) -> None:
    fold = MessageFold()
    event = {"type": "message_delta", "delta": {"stop_reason": "refusal", **delta}, "usage": {"output_tokens": 1}}
    fold.apply(parse(json.dumps(event).encode()))
    answer = json.loads(fold.answer())
    assert answer["stop_reason"] == "refusal"
    assert {name: answer[name] for name in ("stop_details",) if name in answer} == kept
