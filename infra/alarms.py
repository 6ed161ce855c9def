"""Alarms. Each has an entry of its own name in docs/operations.md, and its text says so."""

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as actions
from aws_cdk import aws_sns as sns
from constructs import Construct

from infra import metrics
from infra.database import Database
from infra.stage import Stage

MINUTE = Duration.minutes(1)


class Alarms(Construct):
    """A group of alarms that all go to one topic. `all` has them in the order of their making."""

    def __init__(self, scope: Construct, id: str, *, settings: Stage, topic: sns.ITopic) -> None:
        super().__init__(scope, id)
        self._prefix = settings.prefix
        self._action = actions.SnsAction(topic)
        self.all: list[cloudwatch.Alarm] = []

    def add(
        self,
        name: str,
        metric: cloudwatch.IMetric,
        *,
        above: float,
        meaning: str,
        minutes: int = 3,
    ) -> cloudwatch.Alarm:
        """Goes off when `metric` was above `above` in each of so many periods; silence is no alarm."""
        alarm = cloudwatch.Alarm(
            self,
            name,
            alarm_name=f"{self._prefix}-{name}",
            alarm_description=f"{meaning} What to do: docs/operations.md#{name}",
            metric=metric,
            threshold=above,
            evaluation_periods=minutes,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(self._action)
        alarm.add_ok_action(self._action)
        self.all.append(alarm)
        return alarm


def database_alarms(
    scope: Construct, *, settings: Stage, database: Database, topic: sns.ITopic
) -> list[cloudwatch.Alarm]:
    alarms = Alarms(scope, "DatabaseAlarms", settings=settings, topic=topic)
    proxy = database.proxy.db_proxy_name
    alarms.add(
        "proxy-borrow-latency",
        metrics.proxy("DatabaseConnectionsBorrowLatency", proxy=proxy, statistic="p99"),
        above=100_000,  # microseconds
        meaning="1 % of statements waited more than 100 ms for a connection of the proxy.",
    )
    alarms.add(
        "proxy-pinned-connections",
        metrics.proxy("DatabaseConnectionsCurrentlySessionPinned", proxy=proxy, statistic="Maximum"),
        above=0,
        meaning="Connections are pinned to their clients, which nothing of Headwater's should do.",
    )
    alarms.add(
        "database-capacity",
        database.cluster.metric_acu_utilization(period=MINUTE),
        above=90,
        minutes=5,
        meaning="The database runs at more than 90 % of the capacity that it may have.",
    )
    return alarms.all


def stream_alarms(alarms: Alarms, *, home: metrics.Home, settings: Stage) -> cloudwatch.Alarm:
    """What both homes tell of their streams; gives back the one that a deployment may be judged by."""
    alarms.add(
        f"{home}-first-token",
        metrics.own("TimeToFirstToken", home=home, statistic="p99"),
        above=10_000,
        minutes=5,
        meaning="1 % of streams waited more than 10 s for their first token.",
    )
    interrupted = alarms.add(
        f"{home}-interrupted-streams",
        metrics.own("Interruptions", home=home, statistic="Sum"),
        above=0,
        minutes=1,
        meaning="Streams were cut before their end.",
    )
    alarms.add(
        f"{home}-recorder-backlog",
        metrics.own("RecorderBacklog", home=home, statistic="Maximum"),
        above=16_000_000,
        meaning="More than 16 MB of events wait for the database; streams end at HEADWATER_RECORD_BUFFER.",
    )
    alarms.add(
        f"{home}-spend",
        metrics.own("Cost", home=home, statistic="Sum", period=Duration.days(1)),
        above=settings.daily_model_cost,
        minutes=1,
        meaning=f"Answers of one day cost more than {settings.daily_model_cost} US dollars.",
    )
    return interrupted
