"""Dashboards: a column for each home, the same rows in both, so that they can be compared at a glance."""

from itertools import chain, zip_longest

from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ecs as ecs
from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

from infra import metrics
from infra.alarms import MINUTE
from infra.database import Database
from infra.load_balancer import FrontDoor
from infra.metrics import Home
from infra.rest_api import StreamingApi
from infra.streaming_function import StreamingFunction

Panel = list[cloudwatch.IWidget]
_COLUMN = 12


def dashboard(scope: Construct, *, name: str, panels: list[Panel]) -> None:
    """Each panel is a column; of more than two, one begins below the others."""
    board = cloudwatch.Dashboard(scope, "Dashboard", dashboard_name=name)
    gap = cloudwatch.TextWidget(markdown=" ", width=_COLUMN, height=1)
    for pair in (panels[n : n + 2] for n in range(0, len(panels), 2)):
        for row in zip_longest(*pair, fillvalue=gap):
            board.add_widgets(*row)


def lambda_panel(*, streaming: StreamingFunction, api: StreamingApi | None, alarms: list[cloudwatch.Alarm]) -> Panel:
    alias = streaming.alias
    refused = [api.api.metric_server_error(period=MINUTE)] if api is not None else []
    return [
        _alarms("Lambda", alarms),
        *_streams("lambda"),
        _graph("lambda: invocations", [alias.metric_invocations(period=MINUTE)], right=[_concurrency(streaming)]),
        _graph(
            "lambda: failures",
            [alias.metric_errors(period=MINUTE), alias.metric_throttles(period=MINUTE), *refused],
        ),
    ]


def fargate_panel(*, front: FrontDoor, service: ecs.FargateService, alarms: list[cloudwatch.Alarm]) -> Panel:
    answers = front.target_group.metrics
    return [
        _alarms("Fargate", alarms),
        *_streams("fargate"),
        _graph(
            "fargate: requests",
            [answers.request_count(period=MINUTE)],
            right=[service.metric_cpu_utilization(period=MINUTE), service.metric_memory_utilization(period=MINUTE)],
        ),
        _graph(
            "fargate: failures",
            [
                answers.http_code_target(elb.HttpCodeTarget.TARGET_5XX_COUNT, period=MINUTE),
                front.load_balancer.metrics.http_code_elb(elb.HttpCodeElb.ELB_5XX_COUNT, period=MINUTE),
                answers.unhealthy_host_count(period=MINUTE),
            ],
        ),
    ]


def database_panels(*, database: Database, alarms: list[cloudwatch.Alarm]) -> list[Panel]:
    proxy = database.proxy.db_proxy_name
    return [
        [
            _alarms("Database", alarms),
            _graph("database: capacity", [database.cluster.metric_acu_utilization(period=MINUTE)]),
        ],
        [
            _graph(
                "proxy: wait for a connection, and pinned ones",
                [metrics.proxy("DatabaseConnectionsBorrowLatency", proxy=proxy, statistic="p99")],
                right=[metrics.proxy("DatabaseConnectionsCurrentlySessionPinned", proxy=proxy, statistic="Maximum")],
            ),
            _graph("proxy: clients", [metrics.proxy("ClientConnections", proxy=proxy, statistic="Maximum")]),
        ],
    ]


def workflow_panel(machine_arn: str) -> Panel:
    def executions(name: str) -> cloudwatch.Metric:
        return metrics.executions(name, machine_arn=machine_arn)

    return [
        _graph(
            "batches: executions",
            [executions("ExecutionsStarted"), executions("ExecutionsSucceeded")],
            right=[executions("ExecutionsFailed"), executions("ExecutionsAborted")],
        )
    ]


def _streams(home: Home) -> Panel:
    def own(statistic: str, *names: str) -> list[cloudwatch.IMetric]:
        return [metrics.own(name, home=home, statistic=statistic) for name in names]

    first_token = chain(own("p50", "TimeToFirstToken"), own("p99", "TimeToFirstToken", "AddedTimeToFirstToken"))
    return [
        _graph(f"{home}: first token, ms", list(first_token)),
        _graph(
            f"{home}: open streams",
            own("Average", "OpenStreams"),
            right=own("Sum", "Interruptions", "Resumes", "AdmissionsRefused", "UpstreamErrors"),
        ),
        _graph(f"{home}: tokens and cost", own("Sum", "InputTokens", "OutputTokens"), right=own("Sum", "Cost")),
        _graph(f"{home}: recorder", own("p99", "RecorderLag", "DatabaseWait"), right=own("Maximum", "RecorderBacklog")),
        _graph(f"{home}: starts", own("Sum", "ColdStart"), right=own("p99", "RestoreTime")),
    ]


def _concurrency(streaming: StreamingFunction) -> cloudwatch.Metric:
    return streaming.function.metric("ConcurrentExecutions", statistic="Maximum", period=MINUTE)


def _alarms(title: str, alarms: list[cloudwatch.Alarm]) -> cloudwatch.AlarmStatusWidget:
    return cloudwatch.AlarmStatusWidget(title=title, alarms=alarms, width=_COLUMN)


def _graph(
    title: str, left: list[cloudwatch.IMetric], *, right: list[cloudwatch.IMetric] | None = None
) -> cloudwatch.GraphWidget:
    return cloudwatch.GraphWidget(title=title, left=left, right=right or [], width=_COLUMN)
