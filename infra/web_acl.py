"""A web ACL by address alone. Rules that look into bodies would take prompts about code for attacks."""

from aws_cdk import aws_wafv2 as waf
from constructs import Construct

_REQUESTS_IN_FIVE_MINUTES = 2000


class WebAcl(Construct):
    """Keeps floods from one address and known bad addresses from `resource_arn`."""

    def __init__(self, scope: Construct, id: str, *, name: str, resource_arn: str) -> None:
        super().__init__(scope, id)
        acl = waf.CfnWebACL(
            self,
            "Acl",
            scope="REGIONAL",
            default_action=waf.CfnWebACL.DefaultActionProperty(allow={}),
            visibility_config=_visible(name),
            rules=[self._flood(name), self._bad_addresses(name)],
        )
        waf.CfnWebACLAssociation(self, "Association", resource_arn=resource_arn, web_acl_arn=acl.attr_arn)

    def _flood(self, name: str) -> waf.CfnWebACL.RuleProperty:
        return waf.CfnWebACL.RuleProperty(
            name="flood",
            priority=1,
            action=waf.CfnWebACL.RuleActionProperty(block={}),
            visibility_config=_visible(f"{name}-flood"),
            statement=waf.CfnWebACL.StatementProperty(
                rate_based_statement=waf.CfnWebACL.RateBasedStatementProperty(
                    limit=_REQUESTS_IN_FIVE_MINUTES, aggregate_key_type="IP"
                )
            ),
        )

    def _bad_addresses(self, name: str) -> waf.CfnWebACL.RuleProperty:
        return waf.CfnWebACL.RuleProperty(
            name="bad-addresses",
            priority=2,
            override_action=waf.CfnWebACL.OverrideActionProperty(none={}),
            visibility_config=_visible(f"{name}-bad-addresses"),
            statement=waf.CfnWebACL.StatementProperty(
                managed_rule_group_statement=waf.CfnWebACL.ManagedRuleGroupStatementProperty(
                    vendor_name="AWS", name="AWSManagedRulesAmazonIpReputationList"
                )
            ),
        )


def _visible(name: str) -> waf.CfnWebACL.VisibilityConfigProperty:
    return waf.CfnWebACL.VisibilityConfigProperty(
        cloud_watch_metrics_enabled=True, metric_name=name, sampled_requests_enabled=False
    )
