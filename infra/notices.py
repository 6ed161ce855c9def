"""Who is told: the topic of all alarms, and a budget of the account."""

from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from infra.stage import Stage

_PERCENT = 80


class Notices(Construct):
    def __init__(self, scope: Construct, id: str, *, settings: Stage) -> None:
        super().__init__(scope, id)
        self.topic = sns.Topic(self, "Topic", enforce_ssl=True)
        for service in ("cloudwatch.amazonaws.com", "budgets.amazonaws.com"):
            self.topic.grant_publish(iam.ServicePrincipal(service))
        if settings.alarm_email:
            self.topic.add_subscription(subscriptions.EmailSubscription(settings.alarm_email))
        self._budget(settings)

    def _budget(self, settings: Stage) -> None:
        topic = budgets.CfnBudget.SubscriberProperty(address=self.topic.topic_arn, subscription_type="SNS")
        budget = budgets.CfnBudget(
            self,
            "Budget",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_name=settings.prefix,
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=settings.monthly_budget, unit="USD"),
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        comparison_operator="GREATER_THAN",
                        notification_type=kind,
                        threshold=_PERCENT,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[topic],
                )
                for kind in ("ACTUAL", "FORECASTED")
            ],
        )
        # A budget is refused whose topic does not let it publish yet.
        budget.node.add_dependency(self.topic)
