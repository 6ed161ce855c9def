"""The templates, written once for all tests: CDK takes seconds for each stage."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra import stage
from infra.app import build

Templates = dict[str, dict[str, Any]]
FIRST, SECOND = "sha256:" + "1" * 64, "sha256:" + "2" * 64

# Every choice that `prod` does not have; together they have each of them.
EVERYTHING = replace(
    stage.PROD,
    name="everything",
    upstream="bedrock",
    alarm_email="operator@example.com",
    network=stage.Network(nat_gateways=0, interface_endpoints=True),
    lambda_home=replace(stage.PROD.lambda_home, function_url="AWS_IAM", buffered=True, readiness=stage.SnapStart()),
    fargate_home=replace(
        stage.PROD.fargate_home,
        certificate_arn="arn:aws:acm:us-east-1:123456789012:certificate/11111111-2222-3333-4444-555555555555",
        public_url="https://llm.example.com",
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test is the first waits for the templates; interrupted in it, CDK answers all others with nonsense."""
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))


def _templates(folder: Path, settings: stage.Stage, **context: str) -> Templates:
    build(settings, context=context, outdir=str(folder)).synth()
    return {path.name.partition(".")[0]: json.loads(path.read_text()) for path in folder.glob("*.template.json")}


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="session")
def dev(written: Path) -> Templates:
    return _templates(written / "dev", stage.DEV, image=FIRST)


@pytest.fixture(scope="session")
def dev_with_another_image(written: Path) -> Templates:
    return _templates(written / "dev2", stage.DEV, image=SECOND)


@pytest.fixture(scope="session")
def dev_with_another_secret(written: Path) -> Templates:
    return _templates(written / "dev3", stage.DEV, image=FIRST, secrets_version="another")


@pytest.fixture(scope="session")
def prod(written: Path) -> Templates:
    return _templates(written / "prod", stage.PROD, image=FIRST)


@pytest.fixture(scope="session")
def everything(written: Path) -> Templates:
    return _templates(written / "everything", EVERYTHING, image=FIRST, managed_instances="true", power_tuning="true")


@pytest.fixture(scope="session")
def stages(dev: Templates, prod: Templates, everything: Templates) -> dict[str, Templates]:
    return {"dev": dev, "prod": prod, "everything": everything}
