"""What one running simulator holds, and where its handlers find it."""

from dataclasses import dataclass, field

from aiohttp import web

from local.upstream.directives import Allowance
from local.upstream.pace import Pace
from local.upstream.recorder import RecordedRequest, Recorder


@dataclass(slots=True, kw_only=True)
class State:
    """Settings and memory of one simulator; without an `api_key` any will do."""

    pace: Pace
    api_key: str | None
    recorder: Recorder
    allowance: Allowance = field(default_factory=Allowance)
    stopping: bool = False

    def forget(self) -> None:
        """Forget what was asked, and how often faults have happened."""
        self.recorder.clear()
        self.allowance.clear()


STATE = web.AppKey("state", State)
RECORD = web.RequestKey("record", RecordedRequest)
REQUEST_ID = web.RequestKey("request_id", str)
