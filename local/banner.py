"""What is said when the service is ready."""

import json
from pathlib import Path

from local.state import Run

_TEXT = """
Headwater is ready at {url}   (Ctrl-C ends it)

  Upstream   {upstream}
  Database   {database}
  API docs   {url}/docs
  Logs       the app's below, the others' in {data}/*.log

Watch a completion arrive:

  curl -N {url}/v1/completions \\
    -H 'authorization: Bearer {key}' \\
    -H 'content-type: application/json' \\
    -d '{body}'
"""
_BATCH = """
Make a batch, watch it, and read what came of it:

  batch=$(curl -s {url}/v1/batches \\
    -H 'authorization: Bearer {key}' \\
    -H 'content-type: application/json' \\
    -d '{body}' | cut -d '"' -f 4)
  curl -N {url}/v1/batches/$batch/stream -H 'authorization: Bearer {key}'
  curl {url}/v1/batches/$batch/results -H 'authorization: Bearer {key}'
"""
_RIVERS = ("Danube", "Nile", "Rhine")


def banner(run: Run, upstream: str, database: str, data: Path) -> str:
    body = json.dumps(_request(run, "Tell me about the source of a river."))
    text = _TEXT.format(url=run.url, upstream=upstream, database=database, data=data, key=run.key, body=body)
    return text + _of_batches(run) if run.workflow_url else text


def _of_batches(run: Run) -> str:
    items = [
        {"custom_id": river.lower(), "request": _request(run, f"Tell me about the source of the {river}.")}
        for river in _RIVERS
    ]
    return _BATCH.format(url=run.url, key=run.key, body=json.dumps({"items": items}))


def _request(run: Run, asked: str) -> dict[str, object]:
    return {"model": run.model, "input": asked, "max_tokens": 300}
