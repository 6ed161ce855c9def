"""`python -m local.workflow`: Step Functions for one state machine, whose tasks the local Lambda does.

Executions live in this process alone, and end with it. Their waits and delays take the time that they say.
"""

from pathlib import Path

import click
from moto.server import main as serve

from local.workflow.interpreter import interpret
from local.workflow.machine import machine_of


@click.command()
@click.argument("template", type=click.Path(path_type=Path))
@click.option("--port", type=int, required=True, help="Of 127.0.0.1, where Step Functions' API is.")
@click.option("--invoke-url", required=True, help="Of the local Lambda's Invoke API.")
def main(template: Path, port: int, invoke_url: str) -> None:
    """Run the state machine that TEMPLATE describes, whenever an execution of it is started."""
    interpret(machine_of(template), invoke_url)
    serve(["--host", "127.0.0.1", "--port", str(port)])


if __name__ == "__main__":
    main()
