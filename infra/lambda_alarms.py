"""What can go wrong with functions and their front door."""

from aws_cdk import aws_cloudwatch as cloudwatch
from constructs import Construct

from infra import metrics, stage
from infra.alarms import MINUTE, Alarms, stream_alarms
from infra.rest_api import StreamingApi
from infra.shared import SharedStack
from infra.streaming_function import TIMEOUT, StreamingFunction

_QUOTA = 1000  # of the region, unless AWS has been asked for more
_NEAR = 0.8


class LambdaAlarms(Construct):
    """`all`, and of them `of_versions`: those that a bad version sets off."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        settings: stage.Stage,
        shared: SharedStack,
        streaming: StreamingFunction,
        api: StreamingApi | None,
    ) -> None:
        super().__init__(scope, id)
        self._alarms = Alarms(self, "Alarms", settings=settings, topic=shared.topic)
        self.of_versions = [self._errors(streaming)]
        self._limits(settings, streaming)
        self._background(streaming)
        self._maintenance(streaming)
        if api is not None:
            self.of_versions.append(self._front_door(api))
        self.of_versions.append(stream_alarms(self._alarms, home="lambda", settings=settings))
        self.all = self._alarms.all

    def _errors(self, streaming: StreamingFunction) -> cloudwatch.Alarm:
        rate = cloudwatch.MathExpression(
            expression="100 * errors / MAX([invocations, 1])",
            using_metrics={
                "errors": streaming.alias.metric_errors(period=MINUTE),
                "invocations": streaming.alias.metric_invocations(period=MINUTE),
            },
            period=MINUTE,
            label="failed invocations, %",
        )
        return self._alarms.add("lambda-error-rate", rate, above=1, meaning="More than 1 % of invocations failed.")

    def _limits(self, settings: stage.Stage, streaming: StreamingFunction) -> None:
        self._alarms.add(
            "lambda-throttles",
            streaming.alias.metric_throttles(period=MINUTE),
            above=0,
            minutes=1,
            meaning="Invocations were refused for want of concurrency.",
        )
        self._alarms.add(
            "lambda-duration",
            streaming.alias.metric_duration(period=MINUTE, statistic="p99"),
            above=_NEAR * TIMEOUT.to_milliseconds(),
            meaning="1 % of streams take more than 80 % of the time that an invocation may take.",
        )
        reserved = settings.lambda_home.reserved_concurrency
        self._alarms.add(
            "lambda-concurrency",
            streaming.function.metric("ConcurrentExecutions", statistic="Maximum", period=MINUTE)
            if reserved
            else metrics.claimed_concurrency(),
            above=_NEAR * (reserved or _QUOTA),
            meaning="More than 80 % of the streams run that may run at once.",
        )
        if isinstance(settings.lambda_home.readiness, stage.Provisioned):
            self._alarms.add(
                "lambda-spillover",
                streaming.alias.metric("ProvisionedConcurrencySpilloverInvocations", statistic="Sum", period=MINUTE),
                above=0,
                minutes=5,
                meaning="Requests found no environment ready, and waited for one to start.",
            )

    def _background(self, streaming: StreamingFunction) -> None:
        self._alarms.add(
            "lambda-background",
            streaming.undelivered.metric_approximate_number_of_messages_visible(period=MINUTE, statistic="Maximum"),
            above=0,
            minutes=1,
            meaning="Background generations could not be run.",
        )

    def _maintenance(self, streaming: StreamingFunction) -> None:
        self._alarms.add(
            "lambda-maintenance",
            streaming.maintenance.metric_errors(period=MINUTE),
            above=0,
            minutes=5,
            meaning="Maintenance has failed for five minutes.",
        )

    def _front_door(self, api: StreamingApi) -> cloudwatch.Alarm:
        """An answer with a 5xx is no failed invocation."""
        return self._alarms.add(
            "lambda-api-errors",
            api.api.metric_server_error(period=MINUTE, statistic="Sum"),
            above=5,
            meaning="The REST API answers with errors of its own or of the application (5xx).",
        )
