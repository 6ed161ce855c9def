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


def banner(run: Run, upstream: str, database: str, data: Path) -> str:
    body = json.dumps({"model": run.model, "input": "Tell me about the source of a river.", "max_tokens": 300})
    return _TEXT.format(url=run.url, upstream=upstream, database=database, data=data, key=run.key, body=body)
