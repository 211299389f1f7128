"""The layers that are measured beside each other, each started as its own wrapper starts it.

What the wrapper scripts of the others put into the environment is put there without their shell, in their favour.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What ADOT's layer turns off unless it is told otherwise.
ADOT_DISABLED = (
    "aio-pika,aiohttp-client,aiohttp-server,aiopg,asgi,asyncio,asyncpg,boto,boto3,cassandra,celery,confluent_kafka,dbapi,"
    "django,elasticsearch,falcon,fastapi,flask,grpc_client,grpc_server,grpc_aio_client,grpc_aio_server,httpx,jinja2,kafka,"
    "logging,mysql,mysqlclient,pika,psycopg,psycopg2,pymemcache,pymongo,pymysql,pyramid,redis,remoulade,requests,sklearn,"
    "sqlalchemy,sqlite3,starlette,system_metrics,threading,tornado,tortoiseorm,wsgi,openai_agents,aws_openai_agents,"
    "aws_crewai,aws_langchain,aws_mcp,aws_llama-index,aws-lambda"
)
RESOURCE = "cloud.region=eu-west-1,cloud.provider=aws,faas.name=bench,faas.version=1,faas.instance=s"


@dataclass
class Layer:
    """What a layer puts before the runtime's command line and into its environment; `folder` is its /opt."""

    folder: Path
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)


def packages(tool: Path) -> Path:
    """The packages of a virtual environment, by its bin folder."""
    return next((tool.parent / "lib").glob("python*/site-packages"))


def lay(folder: Path, runtime: Path, upstream: Path, adot: Path, ours: Path, otlp: str) -> dict[str, Layer]:
    """The variants: `folder` is for what is laid out, the others are bin folders, `ours` the unpacked layer."""
    for name in ("upstream", "adot"):
        (folder / name / "python").mkdir(parents=True)
        shutil.copy(HERE / f"otel_wrapper_{name}.py", folder / name / "python" / "otel_wrapper.py")
    python = str(runtime / "python3")

    def theirs(tool: Path, **own: str) -> dict[str, str]:
        return {
            "PYTHONPATH": f"{packages(runtime)}:{packages(tool)}",
            "ORIG_HANDLER": "app.handler",
            "_HANDLER": "otel_wrapper.lambda_handler",
            "OTEL_SERVICE_NAME": "bench",
            **own,
        }

    upstream_environment = theirs(
        upstream,
        OTEL_EXPORTER_OTLP_ENDPOINT=otlp,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
        OTEL_PROPAGATORS="tracecontext,baggage,xray",
        OTEL_RESOURCE_ATTRIBUTES=RESOURCE,
    )
    adot_environment = theirs(
        adot,
        OTEL_AWS_APPLICATION_SIGNALS_ENABLED="true",
        OTEL_AWS_APPLICATION_SIGNALS_RUNTIME_ENABLED="false",
        OTEL_LOGS_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_PROPAGATORS="baggage,xray,tracecontext",
        OTEL_PYTHON_CONFIGURATOR="aws_configurator",
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=ADOT_DISABLED,
        OTEL_PYTHON_DISTRO="aws_distro",
        OTEL_RESOURCE_ATTRIBUTES=f"{RESOURCE},cloud.platform=aws_lambda,aws.log.group.names=g",
    )
    full, fast = ({**adot_environment, "AWS_LAMBDA_LITE_MODE": lite} for lite in ("false", "true"))
    return {
        "none": Layer(ours),
        "otel-xray": Layer(ours, [str(ours / "otel-instrument")]),
        "upstream layer": Layer(
            folder / "upstream", [python, str(upstream / "opentelemetry-instrument")], upstream_environment
        ),
        "ADOT fast start": Layer(folder / "adot", [], fast),
        "ADOT default": Layer(folder / "adot", [python, str(adot / "opentelemetry-instrument")], full),
    }


def versions(upstream: Path, adot: Path) -> dict[str, object]:
    """The versions of what the others are made of, for the record."""

    def of(tool: Path, names: list[str]) -> dict[str, str]:
        found = {one.metadata["Name"]: one.version for one in distributions(path=[str(packages(tool))])}
        return {name: found[name] for name in names}

    names = ["opentelemetry-sdk", "opentelemetry-distro", "opentelemetry-instrumentation-aws-lambda"]
    return {"adot": of(adot, ["aws-opentelemetry-distro"])["aws-opentelemetry-distro"], "upstream": of(upstream, names)}
