"""What front doors write of each request. No query string: a browser token may be in it."""

import json

from aws_cdk import aws_apigateway as apigateway

FORMAT = apigateway.AccessLogFormat.custom(
    json.dumps(
        {
            "requestId": "$context.requestId",
            "ip": "$context.identity.sourceIp",
            "time": "$context.requestTime",
            "method": "$context.httpMethod",
            "path": "$context.path",
            "status": "$context.status",
            "bytes": "$context.responseLength",
            "latency": "$context.responseLatency",
            "integrationError": "$context.integration.error",
        }
    )
)
