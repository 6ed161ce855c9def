import pytest

from tests.infra.conftest import Templates
from tests.infra.templates import has, only, resources, text


def test_the_cluster_is_serverless_encrypted_and_knows_iam(prod: Templates) -> None:
    cluster = only(prod["Shared"], "AWS::RDS::DBCluster")

    assert has(
        cluster,
        {
            "Engine": "aurora-postgresql",
            "EngineVersion": "17.5",
            "StorageEncrypted": True,
            "EnableIAMDatabaseAuthentication": True,
            "DeletionProtection": True,
            "BackupRetentionPeriod": 14,
            "ServerlessV2ScalingConfiguration": {"MinCapacity": 1, "MaxCapacity": 16},
        },
    )
    assert "KmsKeyId" in cluster
    assert all(
        each["Properties"]["DBInstanceClass"] == "db.serverless"
        for each in resources(prod["Shared"], "AWS::RDS::DBInstance").values()
    )


def test_the_password_is_made_and_rotated_by_rds(dev: Templates) -> None:
    cluster = only(dev["Shared"], "AWS::RDS::DBCluster")

    assert cluster["ManageMasterUserPassword"] is True
    assert "MasterUserPassword" not in cluster


def test_the_proxy_takes_only_tls_and_iam_and_says_soon_that_it_is_full(dev: Templates) -> None:
    proxy = only(dev["Shared"], "AWS::RDS::DBProxy")
    pool = only(dev["Shared"], "AWS::RDS::DBProxyTargetGroup")["ConnectionPoolConfigurationInfo"]

    assert proxy["RequireTLS"] is True
    assert [each["IAMAuth"] for each in proxy["Auth"]] == ["REQUIRED"]
    assert pool == {"ConnectionBorrowTimeout": 4, "MaxConnectionsPercent": 70, "MaxIdleConnectionsPercent": 20}


def test_only_the_proxy_reaches_the_database_and_only_clients_the_proxy(dev: Templates) -> None:
    """Also that CDK's own rule between the two is there once: the same rule twice is refused."""
    rules = [each["Properties"] for each in resources(dev["Shared"], "AWS::EC2::SecurityGroupIngress").values()]
    described = {(text(each["GroupId"]), text(each["SourceSecurityGroupId"])) for each in rules}

    assert len(rules) == len(described)
    to_database = {source for group, source in described if "DatabaseBehind" in group}
    to_proxy = {source for group, source in described if "DatabaseFront" in group}
    assert len(to_database) == 1
    assert "DatabaseFront" in to_database.pop()
    assert len(to_proxy) == 1
    assert "DatabaseClients" in to_proxy.pop()


@pytest.mark.parametrize("home", ["Lambda", "Fargate"])
def test_homes_are_told_the_proxy_and_no_password(stages: dict[str, Templates], home: str) -> None:
    for templates in stages.values():
        urls = [text(value) for value in _settings(templates[home]) if "postgresql://" in text(value)]

        assert urls
        for url in urls:
            assert "postgresql://headwater@<" in url
            assert "DatabaseClusterProxy" in url
            assert url.endswith(":5432/headwater?sslmode=verify-full&sslrootcert=system")


def _settings(template: dict[str, object]) -> list[object]:
    functions = resources(template, "AWS::Lambda::Function").values()
    values = [
        value for each in functions for value in each["Properties"].get("Environment", {}).get("Variables", {}).values()
    ]
    for task in resources(template, "AWS::ECS::TaskDefinition").values():
        for container in task["Properties"]["ContainerDefinitions"]:
            values += [each["Value"] for each in container["Environment"]]
    return values


def test_a_stage_that_keeps_its_data_keeps_it_when_it_is_removed(dev: Templates, prod: Templates) -> None:
    def kept(templates: Templates, kind: str) -> set[str]:
        return {each["DeletionPolicy"] for each in resources(templates["Shared"], kind).values()}

    assert kept(prod, "AWS::RDS::DBCluster") == {"Snapshot"}
    assert kept(prod, "AWS::SecretsManager::Secret") == {"Retain"}
    assert kept(prod, "AWS::KMS::Key") == {"Retain"}
    assert kept(dev, "AWS::RDS::DBCluster") == {"Delete"}
