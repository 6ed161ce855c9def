"""The VPC: load balancers and NAT in public subnets, both homes in private ones, the database in isolated ones."""

from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from infra import stage
from infra.log_groups import log_group

HOMES = ec2.SubnetSelection(subnet_group_name="homes")
DATA = ec2.SubnetSelection(subnet_group_name="data")
PUBLIC = ec2.SubnetSelection(subnet_group_name="public")

# What a task or function calls that may not leave the VPC. The image's layers come by way of S3.
_ENDPOINTS = {
    "Secrets": ec2.InterfaceVpcEndpointAwsService.SECRETS_MANAGER,
    "Logs": ec2.InterfaceVpcEndpointAwsService.CLOUDWATCH_LOGS,
    "Registry": ec2.InterfaceVpcEndpointAwsService.ECR,
    "Images": ec2.InterfaceVpcEndpointAwsService.ECR_DOCKER,
    "Functions": ec2.InterfaceVpcEndpointAwsService.LAMBDA_,
    "Workflows": ec2.InterfaceVpcEndpointAwsService.STEP_FUNCTIONS,
    "Bedrock": ec2.InterfaceVpcEndpointAwsService.BEDROCK_RUNTIME,
}


class Network(Construct):
    """`vpc`, with the subnets that HOMES, DATA and PUBLIC select."""

    def __init__(self, scope: Construct, id: str, *, settings: stage.Stage) -> None:
        super().__init__(scope, id)
        nat = settings.network.nat_gateways
        homes = ec2.SubnetType.PRIVATE_WITH_EGRESS if nat else ec2.SubnetType.PRIVATE_ISOLATED
        self.vpc = ec2.Vpc(
            self,
            "Vpc",
            max_azs=2,
            nat_gateways=nat,
            ip_addresses=ec2.IpAddresses.cidr(settings.network.cidr),
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=24, map_public_ip_on_launch=False
                ),
                # Each environment of a function and each task takes an address.
                ec2.SubnetConfiguration(name="homes", subnet_type=homes, cidr_mask=20),
                ec2.SubnetConfiguration(name="data", subnet_type=ec2.SubnetType.PRIVATE_ISOLATED, cidr_mask=24),
            ],
        )
        self.vpc.add_gateway_endpoint("S3", service=ec2.GatewayVpcEndpointAwsService.S3)
        # What was refused; what passed is in the homes' own logs.
        refused = log_group(self, "Refused", settings=settings)
        self.vpc.add_flow_log(
            "FlowLog",
            traffic_type=ec2.FlowLogTrafficType.REJECT,
            destination=ec2.FlowLogDestination.to_cloud_watch_logs(refused),
        )
        if settings.network.interface_endpoints:
            for name, service in _ENDPOINTS.items():
                self.vpc.add_interface_endpoint(name, service=service, subnets=HOMES)
