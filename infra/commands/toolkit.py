"""The CDK: templates by the library, deployments by its command line, under the Node of the pins."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.app import build
from infra.stage import STAGES, Stage

_ROOT = Path(__file__).parents[2]
_CLI = _ROOT / "infra" / "node_modules" / "aws-cdk" / "bin" / "cdk"


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Templates on disk."""

    folder: Path
    stage: Stage

    def template(self, stack: str) -> dict[str, Any]:
        template: dict[str, Any] = json.loads((self.folder / f"{stack}.template.json").read_text())
        return template

    def cdk(self, *arguments: str) -> int:
        """Run the command line on these templates; its exit status."""
        return cdk(*arguments, "--app", str(self.folder))


def synthesize(stage: str, context: dict[str, str]) -> Assembly:
    """Write the templates of `stage`.

    Raises:
        ValueError: there is no such stage, a digest is none, or a rule is broken; this or what CDK printed says which.
    """
    folder = _ROOT / "cdk.out" / stage
    app = build(context={"stage": stage, **context}, outdir=str(folder))
    try:
        app.synth()
    except RuntimeError as exc:
        raise ValueError(f"The templates of {stage} cannot be written: {exc}") from exc
    return Assembly(folder=folder, stage=STAGES[stage])


def cdk(*arguments: str) -> int:
    node = os.environ["JSII_NODE"]  # set by infra/__init__.py
    options = ["--no-notices", "--ci"]
    return subprocess.run([node, str(_CLI), *arguments, *options], cwd=_ROOT, check=False).returncode
