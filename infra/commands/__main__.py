"""Deploys, compares and removes: `python -m infra.commands deploy lambda --stage dev`; targets of the Makefile."""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from infra.commands.cost import Prices, at_rest
from infra.commands.deployed import is_there, output, secrets_version
from infra.commands.images import push
from infra.commands.plot import show
from infra.commands.toolkit import Assembly, cdk, synthesize
from infra.commands.tune import tune
from infra.stage import Stage, stage_called

# What each choice has, in the order in which it is deployed; destroyed in the other order.
STACKS: Final = {
    "lambda": ["Shared", "Lambda", "Workflow"],
    "fargate": ["Shared", "Fargate"],
    "both": ["Shared", "Lambda", "Workflow", "Fargate", "Comparison"],
    # The Lambda home is what migrates and maintains the database.
    "managed-instances": ["Shared", "Lambda", "ManagedInstances"],
    "power-tuning": ["PowerTuning"],
}
# Stacks that are there only when asked for, and what their names end with; the context's, with underscores.
_EXTRAS: Final = {"ManagedInstances": "managed-instances", "PowerTuning": "power-tuning"}
# What goes first, where it is there.
_STANDS_ON: Final = {
    "lambda": ["ManagedInstances", "Comparison", "Workflow"],
    "fargate": ["Comparison"],
    "both": ["ManagedInstances", "PowerTuning", "Workflow"],
}
_PROTECTED: Final = {"Shared": "the database", "Fargate": "the load balancer"}
_OF_IMAGE: Final = {"Lambda", "Workflow", "Fargate", "ManagedInstances"}
# By the names that their digests have among the arguments.
_DOCKERFILES: Final = {"image": "Dockerfile", "buffered_image": "Dockerfile.lambda"}


def main() -> int:
    arguments = _arguments()
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except subprocess.CalledProcessError as exc:
        print(f"{shlex.join(exc.cmd)} ended with status {exc.returncode}. {exc.stderr or ''}".rstrip(), file=sys.stderr)
    except (BotoCoreError, ClientError, OSError, ValueError) as exc:
        print(exc, file=sys.stderr)
    return 2


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="infra.commands", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, function in {"synth": synth, "deploy": deploy, "diff": diff, "destroy": destroy}.items():
        command = commands.add_parser(name)
        command.set_defaults(command=function)
        command.add_argument("what", choices=STACKS, nargs="?", default="both")
        command.add_argument("--stage", default="dev")
        command.add_argument("--image", help="digest of an image that is in the repository; else one is built")
        command.add_argument("--buffered-image", help="the same for the image of Dockerfile.lambda")
        command.add_argument("--yes", action="store_true", help="do not ask")
    commands.add_parser("bootstrap").set_defaults(command=bootstrap)
    _add_tuning(commands)
    return parser.parse_args()


def _add_tuning(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    for name, function in (("tune", tuning), ("plot", plot)):
        command = commands.add_parser(name)
        command.set_defaults(command=function)
        command.add_argument("result", type=Path, nargs="?", default=Path("tuning.json"))
        command.add_argument("plot", type=Path, nargs="?", default=Path("tuning.svg"))
    tune_command = commands.choices["tune"]
    tune_command.add_argument("--stage", default="dev")
    tune_command.add_argument("--model", default="claude-haiku-4-5")


def synth(arguments: argparse.Namespace) -> int:
    stacks = stacks_of(arguments)
    assembly = _synthesize(arguments, stacks)
    print(f"The templates are in {assembly.folder}.")
    _say_cost(assembly, stacks)
    return 0


def stacks_of(arguments: argparse.Namespace) -> list[str]:
    """What was chosen, as far as the stage has it."""
    stage = stage_called(arguments.stage)
    return [stack for stack in STACKS[arguments.what] if stack != "Workflow" or stage.workflow]


def deploy(arguments: argparse.Namespace) -> int:
    stacks = stacks_of(arguments)
    assembly = _synthesize(arguments, stacks)
    print(f"Deploys {', '.join(_name(assembly.stage, stack) for stack in stacks)}.")
    images = to_build(arguments, assembly.stage)
    if images:
        print(f"Builds {' and '.join(images.values())} for arm64 with Docker, unless there are images of this commit.")
    if not _OF_IMAGE.isdisjoint(stacks):
        print("Migrates the database before any traffic moves.")
    _say_cost(assembly, stacks)
    if not _agreed(arguments, "Deploy?"):
        return 1
    if "Shared" in stacks:
        if status := _deploy(assembly, ["Shared"]):
            return status
        assembly = _on_shared(arguments, assembly.stage, images)
    return _deploy(assembly, [stack for stack in stacks if stack != "Shared"])


def to_build(arguments: argparse.Namespace, stage: Stage) -> dict[str, str]:
    """Dockerfiles of the images that are needed and were not given, by the names in `_DOCKERFILES`."""
    stacks = STACKS[arguments.what]
    needed = {
        "image": not _OF_IMAGE.isdisjoint(stacks),
        "buffered_image": "Lambda" in stacks and stage.lambda_home.buffered,
    }
    given = vars(arguments)
    return {name: file for name, file in _DOCKERFILES.items() if needed[name] and given[name] is None}


def diff(arguments: argparse.Namespace) -> int:
    stacks = stacks_of(arguments)
    assembly = _as_deployed(arguments, stacks)
    _say_cost(assembly, stacks)
    return assembly.cdk("diff", *stacks, "--exclusively", "--no-change-set", "--fail")


def destroy(arguments: argparse.Namespace) -> int:
    stage = stage_called(arguments.stage)
    stacks = _to_remove(arguments.what, stage)
    print(f"Removes {', '.join(_name(stage, stack) for stack in stacks)}.")
    print(loss(stage, stacks))
    if not _agreed(arguments, "Remove?"):
        return 1
    return _as_deployed(arguments, stacks).cdk("destroy", *stacks, "--exclusively", "--force")


def _to_remove(what: str, stage: Stage) -> list[str]:
    above = _STANDS_ON.get(what, [])
    first = [stack for stack in above if is_there(_name(stage, stack))]
    chosen = [stack for stack in STACKS[what][::-1] if stack not in above]
    # Of one home, what is under it stays: another may stand on it.
    return first + (chosen if what == "both" else chosen[:1])


def loss(stage: Stage, stacks: list[str]) -> str:
    """What is said before `stacks` are removed."""
    protected = [what for stack, what in _PROTECTED.items() if stack in stacks]
    if stage.keeps_data and protected:
        return f"AWS will refuse: {' and '.join(protected)} of a stage that keeps its data cannot go (docs/deploy.md)."
    if "Shared" in stacks:
        return "Database, secrets, images and logs are gone with it."
    return f"Database, secrets and images stay; the logs {'stay too' if stage.keeps_data else 'are gone with it'}."


def bootstrap(arguments: argparse.Namespace) -> int:
    print("Makes the stack CDKToolkit: a bucket and a repository for what is deployed, and the roles that deploy it.")
    account = boto3.client("sts").get_caller_identity()["Account"]
    return cdk("bootstrap", f"aws://{account}/{boto3.Session().region_name}", "--app", "")


def tuning(arguments: argparse.Namespace) -> int:
    tune(stage_called(arguments.stage), model=arguments.model, result=arguments.result)
    return plot(arguments)


def plot(arguments: argparse.Namespace) -> int:
    show(arguments.result, arguments.plot)
    return 0


def _name(stage: Stage, stack: str) -> str:
    return f"{stage.prefix}-{_EXTRAS.get(stack, stack.lower())}"


def _synthesize(arguments: argparse.Namespace, stacks: list[str], **found: str | None) -> Assembly:
    """With what was `found` out, where nothing was given."""
    given = {name: vars(arguments)[name] for name in _DOCKERFILES}
    context = found | {name: digest for name, digest in given.items() if digest}
    context |= {name.replace("-", "_"): "true" for stack, name in _EXTRAS.items() if stack in stacks}
    return synthesize(arguments.stage, {name: value for name, value in context.items() if value})


def _as_deployed(arguments: argparse.Namespace, stacks: list[str]) -> Assembly:
    """So that what differs is not merely that no image is named here."""
    stage = stage_called(arguments.stage)
    home = _name(stage, "Fargate" if arguments.what == "fargate" else "Lambda")
    return _synthesize(
        arguments,
        stacks,
        image=output(home, "Image"),
        buffered_image=output(home, "BufferedImage"),
        secrets_version=secrets_version(_name(stage, "Shared")),
    )


def _on_shared(arguments: argparse.Namespace, stage: Stage, images: dict[str, str]) -> Assembly:
    """The rest, once there are a repository to push to and a secret that has a version."""
    shared = _name(stage, "Shared")
    repository = output(shared, "RepositoryUri")
    assert repository is not None, "the shared stack has just been deployed"
    digests = {name: push(repository, dockerfile) for name, dockerfile in images.items()}
    return _synthesize(arguments, stacks_of(arguments), secrets_version=secrets_version(shared), **digests)


def _deploy(assembly: Assembly, stacks: list[str]) -> int:
    # What it may do was said and agreed to above.
    return assembly.cdk("deploy", *stacks, "--exclusively", "--require-approval", "never", "--method", "direct")


def _say_cost(assembly: Assembly, stacks: list[str]) -> None:
    lines = at_rest([assembly.template(stack) for stack in stacks], Prices())
    print("A month at rest, by the prices of us-east-1 (compare/prices.toml):")
    for line in sorted(lines, key=lambda line: -line.usd):
        print(f"  ${line.usd:8.2f}  {line.what}")
    print(f"  ${sum(line.usd for line in lines):8.2f}  in all; tokens, requests, traffic, storage and logs come on top")


def _agreed(arguments: argparse.Namespace, question: str) -> bool:
    if arguments.yes:
        return True
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    sys.exit(main())
