"""The front door of the Fargate home, made for answers that take as long as a stream may."""

from aws_cdk import Duration
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_elasticloadbalancingv2 as elb
from constructs import Construct

from infra import stage
from infra.network import HOMES, PUBLIC

PORT = 8080


def idle_timeout(settings: stage.Stage) -> Duration:
    """Longer than a stream: an answer in one piece says nothing until its end."""
    return Duration.seconds(settings.stream_seconds + 10)


class FrontDoor(Construct):
    """`load_balancer`, `target_group`, and `group`: the security group that requests come from."""

    def __init__(self, scope: Construct, id: str, *, vpc: ec2.IVpc, settings: stage.Stage) -> None:
        super().__init__(scope, id)
        public = settings.fargate_home.public
        self.group = ec2.SecurityGroup(self, "Group", vpc=vpc, description="Load balancer", allow_all_outbound=False)
        self.load_balancer = elb.ApplicationLoadBalancer(
            self,
            "LoadBalancer",
            load_balancer_name=settings.prefix,
            vpc=vpc,
            vpc_subnets=PUBLIC if public else HOMES,
            internet_facing=public,
            security_group=self.group,
            idle_timeout=idle_timeout(settings),
            drop_invalid_header_fields=True,
            deletion_protection=settings.keeps_data,
        )
        self.target_group = elb.ApplicationTargetGroup(
            self,
            "Tasks",
            vpc=vpc,
            port=PORT,
            protocol=elb.ApplicationProtocol.HTTP,
            target_type=elb.TargetType.IP,
            load_balancing_algorithm_type=elb.TargetGroupLoadBalancingAlgorithmType.LEAST_OUTSTANDING_REQUESTS,
            # Its streams have this long to end before a task is told to stop.
            deregistration_delay=Duration.seconds(settings.stream_seconds),
            health_check=elb.HealthCheck(
                path="/livez", healthy_http_codes="200", interval=Duration.seconds(15), timeout=Duration.seconds(5)
            ),
        )
        self.url = self._listen(vpc, settings)

    def _listen(self, vpc: ec2.IVpc, settings: stage.Stage) -> str:
        chosen = settings.fargate_home
        callers = ec2.Peer.any_ipv4() if chosen.public else ec2.Peer.ipv4(vpc.vpc_cidr_block)
        self.group.add_ingress_rule(callers, ec2.Port.tcp(80), "HTTP")
        name = self.load_balancer.load_balancer_dns_name
        if chosen.certificate_arn is None:
            self.load_balancer.add_listener("Http", port=80, open=False, default_target_groups=[self.target_group])
            return chosen.public_url or f"http://{name}"
        self.group.add_ingress_rule(callers, ec2.Port.tcp(443), "HTTPS")
        self.load_balancer.add_redirect(open=False)
        self.load_balancer.add_listener(
            "Https",
            port=443,
            open=False,
            certificates=[elb.ListenerCertificate.from_arn(chosen.certificate_arn)],
            ssl_policy=elb.SslPolicy.TLS13_RES,
            default_target_groups=[self.target_group],
        )
        return chosen.public_url or f"https://{name}"
