"""Origin, aws, service, user and sql: MAP-34 and MAP-43 to MAP-60."""

from __future__ import annotations

from otlp import span

AWS = {"service.name": "shop", "cloud.provider": "aws", "cloud.region": "eu-west-1"}
GET_ITEM = {"rpc.system": "aws-api", "rpc.service": "DynamoDB", "rpc.method": "GetItem"}
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/orders"
LOG_GROUP = "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/lambda/shop:*"
SDK = {"telemetry.sdk.name": "opentelemetry", "telemetry.sdk.language": "python", "telemetry.sdk.version": "1.30.0"}
PLATFORMS = ["aws_app_runner", "aws_eks", "aws_elastic_beanstalk", "aws_ecs", "aws_ec2", "aws_lambda"]

ROOT = [span("GET /", "server", parent=None)]
SELECT = {"db.statement": "SELECT * FROM cart WHERE id = 7 AND name = 'x'", "db.user": "app", "db.name": "shop"}
NEW_SELECT = {"db.query.text": "SELECT * FROM cart WHERE id = ?", "db.namespace": "shop", "db.operation.name": "SELECT"}

CASES = {
    **{f"map-34-{platform}": (ROOT, {**AWS, "cloud.platform": platform}) for platform in PLATFORMS},
    "map-34-ecs-fargate": (
        ROOT,
        {**AWS, "cloud.platform": "aws_ecs", "aws.ecs.launchtype": "fargate"},
    ),
    "map-34-ecs-ec2": (ROOT, {**AWS, "cloud.platform": "aws_ecs", "aws.ecs.launchtype": "ec2"}),
    "map-34-no-provider": (ROOT, {"service.name": "shop", "cloud.platform": "aws_ec2"}),
    "map-43-other-cloud": (
        [
            span("GET /", "server", parent=None),
            span("DynamoDB.GetItem", "client", {**GET_ITEM, "aws.region": "eu-west-1", "aws.request_id": "r-1"}),
        ],
        {"service.name": "shop", "cloud.provider": "gcp", "cloud.platform": "gcp_cloud_run"},
    ),
    "map-44-accounts": (
        [
            span("own", "client", GET_ITEM),
            span("other", "client", {**GET_ITEM, "aws.account_id": "210987654321"}),
            span("GET /", "server", parent=None),
        ],
        {**AWS, "cloud.account.id": "123456789012"},
    ),
    "map-45-operation": (
        [
            span("a", "client", GET_ITEM),
            span("b", "client", {**GET_ITEM, "aws.operation": "BatchGetItem"}),
            span("c", "client", {"aws.service": "S3", "aws.operation": "GetObject"}),
            span("d", "client", {**GET_ITEM, "rpc.method": "DynamoDB/GetItem"}),
        ],
        AWS,
    ),
    "map-46-region": (
        [
            span("old", "client", {**GET_ITEM, "aws.region": "us-east-1"}),
            span("new", "client", {**GET_ITEM, "cloud.region": "us-east-1"}),
        ],
        AWS,
    ),
    "map-47-request-id": (
        [
            span("underscore", "client", {**GET_ITEM, "aws.request_id": "r-1"}),
            span("camel", "client", {**GET_ITEM, "aws.requestId": "r-2"}),
            span("dots", "client", {**GET_ITEM, "aws.request.id": "r-3"}),
            span("extended", "client", {**GET_ITEM, "aws.extended_request_id": "x/1=", "aws.request_id": "r-4"}),
        ],
        AWS,
    ),
    "map-48-queue": (
        [
            span(
                key, "client", {"rpc.system": "aws-api", "rpc.service": "SQS", "rpc.method": "SendMessage", key: QUEUE}
            )
            for key in ("aws.queue_url", "aws.queue.url", "messaging.url", "aws.sqs.queue.url")
        ],
        AWS,
    ),
    "map-49-tables": (
        [
            span("one", "client", {**GET_ITEM, "aws.dynamodb.table_names": ["cart"]}),
            span("two", "client", {**GET_ITEM, "aws.dynamodb.table_names": ["cart", "user"]}),
            span("text", "client", {**GET_ITEM, "aws.dynamodb.table_names": "cart"}),
            span("dots", "client", {**GET_ITEM, "aws.table.name": "cart"}),
            span("underscore", "client", {**GET_ITEM, "aws.table_name": "cart"}),
            span("collection", "client", {**GET_ITEM, "db.system": "dynamodb", "db.collection.name": "cart"}),
        ],
        AWS,
    ),
    "map-50-ec2": (
        ROOT,
        {
            **AWS,
            "cloud.platform": "aws_ec2",
            "host.id": "i-0123456789",
            "cloud.availability_zone": "eu-west-1a",
            "host.type": "m7g.large",
            "host.image.id": "ami-0123",
        },
    ),
    "map-50-host-id-alone": (ROOT, {**AWS, "host.id": "i-0123456789"}),
    "map-51-ecs": (
        ROOT,
        {
            **AWS,
            "cloud.platform": "aws_ecs",
            "aws.ecs.launchtype": "fargate",
            "container.name": "shop",
            "container.id": "0123456789abcdef",
            "container.image.tag": "v7",
            "aws.ecs.container.arn": "arn:aws:ecs:eu-west-1:123456789012:container/c",
            "aws.ecs.task.arn": "arn:aws:ecs:eu-west-1:123456789012:task/t",
            "aws.ecs.task.family": "shop",
            "aws.ecs.cluster.arn": "arn:aws:ecs:eu-west-1:123456789012:cluster/k",
            "cloud.availability_zone": "eu-west-1a",
        },
    ),
    "map-52-eks": (
        ROOT,
        {
            **AWS,
            "cloud.platform": "aws_eks",
            "k8s.pod.name": "shop-1",
            "k8s.cluster.name": "blue",
            "container.id": "0123456789abcdef",
        },
    ),
    "map-52-cluster-alone": (ROOT, {**AWS, "k8s.cluster.name": "blue"}),
    "map-53-elastic-beanstalk": (
        ROOT,
        {
            **AWS,
            "cloud.platform": "aws_elastic_beanstalk",
            "service.namespace": "shop-prod",
            "service.instance.id": "23",
            "service.version": "v7",
        },
    ),
    "map-54-log-group-arns": (ROOT, {**AWS, "aws.log.group.arns": [LOG_GROUP]}),
    "map-54-log-group-names": (ROOT, {**AWS, "aws.log.group.names": ["/aws/lambda/shop", "/shop/audit"]}),
    "map-54-log-groups-joined": (ROOT, {**AWS, "aws.log.group.names": "/aws/lambda/shop&/shop/audit"}),
    "map-55-sdk": ([*ROOT, span("call", "client")], {**AWS, **SDK}),
    "map-55-sdk-automatic": (ROOT, {**AWS, **SDK, "telemetry.auto.version": "0.51b0"}),
    "map-55-sdk-distro": (
        ROOT,
        {**AWS, **SDK, "telemetry.distro.name": "aws-otel", "telemetry.distro.version": "0.12.0"},
    ),
    "map-56-version": (ROOT, {**AWS, "service.version": "7.1"}),
    "map-56-image-tag": (ROOT, {**AWS, "container.image.tag": "v7"}),
    "map-57-user": (
        [
            span("old", "server", {"enduser.id": "anna"}),
            span("new", "server", {"user.id": "anna"}),
            span("below", "internal", {"enduser.id": "anna"}),
        ],
        AWS,
    ),
    "map-58-lambda-resource": (
        [
            span(
                "shop",
                "server",
                {
                    "faas.invocation_id": "7f8a7e1b-0000-4000-8000-000000000001",
                    "faas.trigger": "http",
                    "faas.coldstart": True,
                    "cloud.resource_id": "arn:aws:lambda:eu-west-1:123456789012:function:shop",
                    "cloud.account.id": "123456789012",
                },
            )
        ],
        {
            **AWS,
            "cloud.platform": "aws_lambda",
            "faas.name": "shop",
            "faas.version": "$LATEST",
            "faas.max_memory": 536870912,
            "aws.log.group.names": ["/aws/lambda/shop"],
            "aws.log.stream.names": ["2026/09/10/[$LATEST]abc"],
        },
    ),
    "map-58-aws-resources": (
        [
            span("s3", "client", {**GET_ITEM, "rpc.service": "S3", "aws.s3.bucket": "b", "aws.s3.key": "k"}),
            span("lambda", "client", {**GET_ITEM, "rpc.service": "Lambda", "aws.lambda.function.name": "tax"}),
            span("invoked", "client", {**GET_ITEM, "rpc.service": "Lambda", "faas.invoked_name": "tax"}),
            span(
                "topic",
                "producer",
                {**GET_ITEM, "rpc.service": "SNS", "aws.sns.topic.arn": "arn:aws:sns:eu-west-1:1:t"},
            ),
            span(
                "secret",
                "client",
                {**GET_ITEM, "rpc.service": "Secrets Manager", "aws.secretsmanager.secret.arn": "arn:aws:s:eu:1:s"},
            ),
            span(
                "machine",
                "client",
                {**GET_ITEM, "rpc.service": "SFN", "aws.stepfunctions.state_machine.arn": "arn:aws:states:eu:1:m"},
            ),
            span("retries", "client", {**GET_ITEM, "retry_attempts": 2}),
        ],
        AWS,
    ),
    "map-58-messaging": (
        [
            span(
                "orders send",
                "producer",
                {
                    "messaging.system": "kafka",
                    "messaging.operation.type": "send",
                    "messaging.destination.name": "orders",
                    "messaging.message.body.size": 12,
                },
            ),
            span(
                "orders receive",
                "consumer",
                {"messaging.system": "kafka", "messaging.destination.name": "orders"},
                parent=None,
            ),
        ],
        AWS,
    ),
    "map-58-generative-ai": (
        [
            span(
                "chat anthropic.claude-v2",
                "client",
                {
                    "rpc.system": "aws-api",
                    "rpc.service": "Bedrock Runtime",
                    "rpc.method": "Converse",
                    "gen_ai.system": "aws.bedrock",
                    "gen_ai.request.model": "anthropic.claude-v2",
                    "gen_ai.request.temperature": 0.5,
                    "gen_ai.usage.input_tokens": 12,
                    "gen_ai.usage.output_tokens": 34,
                    "gen_ai.response.finish_reasons": ["end_turn"],
                },
            )
        ],
        AWS,
    ),
    "map-59-sql-systems": (
        [
            span(f"SELECT {system}", "client", {"db.system": system, **SELECT})
            for system in [
                *("db2", "derby", "hive", "mariadb", "mssql", "mysql", "oracle", "postgresql", "sqlite", "teradata"),
                *("other_sql", "redshift", "cockroachdb", "snowflake", "clickhouse", "trino"),
            ]
        ],
        AWS,
    ),
    "map-59-sql-places": (
        [
            span("socket", "client", {"db.system": "postgresql", **SELECT}, seed="1"),
            span(
                "host", "client", {"db.system": "postgresql", **SELECT, "net.peer.name": "db1", "net.peer.port": 5432}
            ),
            span(
                "connection string",
                "client",
                {"db.system": "postgresql", **SELECT, "db.connection_string": "postgresql://app:secret@db1:5432"},
            ),
            span("no name", "client", {"db.system": "sqlite", "db.statement": "PRAGMA user_version"}),
            span("long", "client", {"db.system": "mysql", **SELECT, "db.statement": "SELECT " + "a, " * 600 + "b"}),
        ],
        AWS,
    ),
    "map-59-no-sql-systems": (
        [
            span("GET", "client", {"db.system": "redis", "db.statement": "GET ?", "net.peer.name": "cache"}),
            span(
                "find cart",
                "client",
                {"db.system": "mongodb", "db.name": "shop", "db.mongodb.collection": "cart", "db.operation": "find"},
            ),
            span("new", "client", {"db.system.name": "redis", "db.query.text": "GET ?", "server.address": "cache"}),
        ],
        AWS,
    ),
    "map-60-new-database-names": (
        [
            span(
                system,
                "client",
                {"db.system.name": system, **NEW_SELECT, "server.address": "db1", "server.port": 5432},
            )
            for system in ("postgresql", "mysql", "microsoft.sql_server", "oracle.db", "ibm.db2", "aws.redshift")
        ],
        AWS,
    ),
}
