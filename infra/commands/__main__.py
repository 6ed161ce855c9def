"""Deploys, compares and removes: `python -m infra.commands deploy lambda --stage dev`; targets of the Makefile."""

import argparse
import sys
from collections.abc import Callable
from typing import Final

import boto3
from botocore.exceptions import BotoCoreError

from infra.commands.cost import Prices, at_rest
from infra.commands.images import output, push
from infra.commands.toolkit import Assembly, cdk, synthesize

# What each choice has, in the order in which it is deployed; destroyed in the other order.
STACKS: Final = {
    "lambda": ["Shared", "Lambda"],
    "fargate": ["Shared", "Fargate"],
    "both": ["Shared", "Lambda", "Fargate", "Comparison"],
    "managed-instances": ["Shared", "ManagedInstances"],
    "power-tuning": ["PowerTuning"],
}
_EXTRAS: Final = {"managed-instances": "managed_instances", "power-tuning": "power_tuning"}
_OF_IMAGE: Final = {"Lambda", "Fargate", "ManagedInstances"}


def main() -> int:
    arguments = _arguments()
    command: Callable[[argparse.Namespace], int] = arguments.command
    try:
        return command(arguments)
    except (BotoCoreError, ValueError) as exc:
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
    return parser.parse_args()


def synth(arguments: argparse.Namespace) -> int:
    assembly = _synthesize(arguments, arguments.image, arguments.buffered_image)
    print(f"The templates are in {assembly.folder}.")
    _say_cost(assembly, STACKS[arguments.what])
    return 0


def deploy(arguments: argparse.Namespace) -> int:
    stacks = STACKS[arguments.what]
    assembly = _synthesize(arguments, arguments.image, arguments.buffered_image)
    prefix = assembly.stage.prefix
    print(f"Deploys {', '.join(f'{prefix}-{stack.lower()}' for stack in stacks)}.")
    builds = arguments.image is None and not _OF_IMAGE.isdisjoint(stacks)
    if builds:
        print("Builds the image for arm64 with Docker and puts it into the deployment's repository.")
    print("Migrates the database before any traffic moves.")
    _say_cost(assembly, stacks)
    if not _agreed(arguments, "Deploy?"):
        return 1
    if "Shared" in stacks and (status := _deploy(assembly, ["Shared"])):
        return status
    if builds:
        assembly = _with_new_images(arguments, assembly)
    rest = [stack for stack in stacks if stack != "Shared"]
    return _deploy(assembly, rest)


def diff(arguments: argparse.Namespace) -> int:
    assembly = _of_deployed_images(arguments)
    _say_cost(assembly, STACKS[arguments.what])
    return assembly.cdk("diff", *STACKS[arguments.what], "--exclusively", "--no-change-set", "--fail")


def destroy(arguments: argparse.Namespace) -> int:
    assembly = _of_deployed_images(arguments)
    stacks = STACKS[arguments.what][::-1]
    if arguments.what in ("lambda", "fargate", "managed-instances"):
        stacks.remove("Shared")  # the other home may stand on it
    print(f"Removes {', '.join(f'{assembly.stage.prefix}-{stack.lower()}' for stack in stacks)}.")
    kept = assembly.stage.keeps_data
    print(
        "Keeps a snapshot of the database, the secret, the images and the logs; they go on costing."
        if kept
        else "Database, secrets, images and logs are gone with it."
    )
    if not _agreed(arguments, "Remove?"):
        return 1
    return assembly.cdk("destroy", *stacks, "--exclusively", "--force")


def bootstrap(arguments: argparse.Namespace) -> int:
    print("Makes the stack CDKToolkit: a bucket and a repository for what is deployed, and the roles that deploy it.")
    account = boto3.client("sts").get_caller_identity()["Account"]
    return cdk("bootstrap", f"aws://{account}/{boto3.Session().region_name}", "--app", "")


def _synthesize(arguments: argparse.Namespace, image: str | None, buffered_image: str | None) -> Assembly:
    context = {"image": image, "buffered_image": buffered_image, _EXTRAS.get(arguments.what, ""): "true"}
    return synthesize(arguments.stage, {name: value for name, value in context.items() if name and value})


def _of_deployed_images(arguments: argparse.Namespace) -> Assembly:
    """So that what differs is not merely that no image is named here."""
    stack = f"headwater-{arguments.stage}-{'fargate' if arguments.what == 'fargate' else 'lambda'}"
    return _synthesize(
        arguments,
        arguments.image or output(stack, "Image"),
        arguments.buffered_image or output(stack, "BufferedImage"),
    )


def _with_new_images(arguments: argparse.Namespace, assembly: Assembly) -> Assembly:
    repository = output(f"{assembly.stage.prefix}-shared", "RepositoryUri")
    assert repository is not None, "the shared stack has just been deployed"
    image = push(repository, "Dockerfile")
    buffered = push(repository, "Dockerfile.lambda") if assembly.stage.lambda_home.buffered else None
    return _synthesize(arguments, image, buffered)


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
