"""The states of a batch: plan, items, settle, and waits in between.

    Plan -> Items -> Settle -> end | approval -> Settle | pause -> Plan

Each task sends the application an event (app/entrypoints/events.py). Its answer says where to go on and for how many
seconds to wait; the database has all else.
"""

from collections.abc import Mapping, Sequence

from aws_cdk import Duration
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_stepfunctions as sfn
from aws_cdk import aws_stepfunctions_tasks as tasks
from constructs import Construct

from infra.streaming_function import TIMEOUT

# Past the function's own time. What has not answered by then never will.
_TASK_TIMEOUT = sfn.Timeout.duration(TIMEOUT.plus(Duration.seconds(30)))
_LONGEST_DELAY = Duration.minutes(1)
# About 20 minutes, on the average: the application is away, and comes back.
_PATIENCE = 40
# About three minutes. Then the item has failed, and the batch goes on without it.
_ITEM_PATIENCE = 12
_THROTTLED = "Lambda.TooManyRequestsException"
# Nothing has failed, and the batch's deadline decides. A try is three events of the 25,000 that a history may have.
_THROTTLED_PATIENCE = 5_000
# By which the application ends a wait that is of no use any more.
_REFUSALS = ["Rejected", "Cancelled"]
# A wait without a sign of life from the application is begun anew.
_HEARTBEAT_LOST = "States.HeartbeatTimeout"

_BATCH = {"batch_id": sfn.JsonPath.string_at("$.batch_id"), "round": sfn.JsonPath.number_at("$.round")}
_ITEM = {**_BATCH, "position": sfn.JsonPath.number_at("$.position")}


class BatchDefinition(Construct):
    """`start` is the first state; the input is `{"batch_id": ..., "round": ...}`."""

    def __init__(self, scope: Construct, id: str, *, function: lambda_.IFunction) -> None:
        super().__init__(scope, id)
        self._function = function
        self.start = self._task("Plan", "batch_plan", _BATCH, result="$.plan")
        items, settle = self._items(), self._task("Settle", "batch_settle", _BATCH, result="$.next")
        self.start.next(items)
        items.add_catch(settle, result_path=sfn.JsonPath.DISCARD)
        items.next(settle)
        settle.next(
            sfn.Choice(self, "What is next?")
            .when(_says("$.next.next", "end"), sfn.Succeed(self, "Settled"))
            .when(_says("$.next.next", "approval"), self._approval(settle))
            .when(_says("$.next.next", "pause"), self._pause(settle))
        )

    def _items(self) -> sfn.DistributedMap:
        """Fails with the first item that says stop. Children of their own, since an item takes up to 15 minutes."""
        items = sfn.DistributedMap(
            self,
            "Items",
            map_execution_type=sfn.StateMachineType.STANDARD,
            items_path="$.plan.items",
            max_concurrency_path="$.plan.parallelism",
            item_selector={**_BATCH, "position": sfn.JsonPath.number_at("$$.Map.Item.Value")},
            result_path=sfn.JsonPath.DISCARD,
        )
        return items.item_processor(self._item())

    def _item(self) -> sfn.IChainable:
        item = self._task("Item", "batch_item", _ITEM, result="$.answer", patience=_ITEM_PATIENCE)
        failed = self._task(
            "Item failed",
            "batch_item_failed",
            {**_ITEM, "error": sfn.JsonPath.string_at("$.failure.Error")},
            result="$.answer",
        )
        outcome = (
            sfn.Choice(self, "Item's outcome")
            # The outputs of 10,000 items have to fit into one of 256 KB.
            .when(_says("$.answer.outcome", "done"), sfn.Succeed(self, "Item done", output_path=sfn.JsonPath.DISCARD))
            .when(
                _says("$.answer.outcome", "wait"),
                sfn.Wait(self, "Overload", time=sfn.WaitTime.seconds_path("$.answer.seconds")).next(item),
            )
            .otherwise(sfn.Fail(self, "Stopped", error="Stopped"))
        )
        item.add_catch(failed.next(outcome), result_path="$.failure")
        return item.next(outcome)

    def _approval(self, settle: tasks.LambdaInvoke) -> sfn.IChainable:
        approval = self._wait("Approval", heartbeat=sfn.Timeout.at("$.next.heartbeat"))
        timed_out = self._task("Approval timed out", "batch_timed_out", _BATCH, result=sfn.JsonPath.DISCARD)
        approval.add_catch(settle, errors=[*_REFUSALS, _HEARTBEAT_LOST], result_path=sfn.JsonPath.DISCARD)
        approval.add_catch(timed_out.next(settle), errors=[sfn.Errors.TIMEOUT], result_path=sfn.JsonPath.DISCARD)
        return approval.next(settle)

    def _pause(self, settle: tasks.LambdaInvoke) -> sfn.IChainable:
        pause = self._wait("Pause")
        pause.add_catch(settle, errors=_REFUSALS, result_path=sfn.JsonPath.DISCARD)
        pause.add_catch(self.start, errors=[sfn.Errors.TIMEOUT], result_path=sfn.JsonPath.DISCARD)
        return pause.next(self.start)

    def _task(
        self, name: str, event: str, fields: Mapping[str, str | float], *, result: str, patience: int = _PATIENCE
    ) -> tasks.LambdaInvoke:
        task = tasks.LambdaInvoke(
            self,
            name,
            lambda_function=self._function,
            payload=_event(event, fields),
            payload_response_only=True,
            retry_on_service_exceptions=False,
            task_timeout=_TASK_TIMEOUT,
            result_path=result,
        )
        _retry(task, [_THROTTLED], _THROTTLED_PATIENCE)
        _retry(task, [sfn.Errors.ALL], patience)
        return task

    def _wait(self, name: str, *, heartbeat: sfn.Timeout | None = None) -> tasks.LambdaInvoke:
        """Gives the application a token, and waits for what it does with it."""
        wait = tasks.LambdaInvoke(
            self,
            name,
            lambda_function=self._function,
            integration_pattern=sfn.IntegrationPattern.WAIT_FOR_TASK_TOKEN,
            payload=_event("batch_wait", {**_BATCH, "token": sfn.JsonPath.task_token}),
            retry_on_service_exceptions=False,
            task_timeout=sfn.Timeout.at("$.next.seconds"),
            heartbeat_timeout=heartbeat,
            result_path=sfn.JsonPath.DISCARD,
        )
        wait.add_retry(errors=[*_REFUSALS, _HEARTBEAT_LOST, sfn.Errors.TIMEOUT], max_attempts=0)
        _retry(wait, [_THROTTLED], _THROTTLED_PATIENCE)
        _retry(wait, [sfn.Errors.ALL], _PATIENCE)
        return wait


def _event(name: str, fields: Mapping[str, str | float]) -> sfn.TaskInput:
    return sfn.TaskInput.from_object({"headwater": name, **fields})


def _says(path: str, word: str) -> sfn.Condition:
    return sfn.Condition.string_equals(path, word)


def _retry(task: tasks.LambdaInvoke, errors: Sequence[str], attempts: int) -> None:
    task.add_retry(
        errors=errors,
        interval=Duration.seconds(2),
        backoff_rate=2,
        max_delay=_LONGEST_DELAY,
        jitter_strategy=sfn.JitterType.FULL,
        max_attempts=attempts,
    )
