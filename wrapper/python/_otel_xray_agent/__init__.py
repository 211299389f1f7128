"""The agent inside the function: records spans and hands them to the extension.

Libraries are patched when, and only when, the function itself imports them. What is here runs before anything else of
the agent, and is made by ``bootstrap``; what it loads, it loads by name.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.record import Recorder

VERSION = "0.1.0"

TABLE = {
    "botocore.client": ("botocore", "libraries.aws", "patch_client"),
    "botocore.endpoint": ("botocore", "libraries.aws", "patch_endpoint"),
    "urllib3.connectionpool": ("urllib3", "libraries.http.urllib3", "patch"),
    "urllib3.response": ("", "libraries.http", "follow_chunks"),
    "http.client": ("http.client", "libraries.http.http_client", "patch"),
    "httpx._transports.default": ("httpx", "libraries.http.httpx", "patch"),
    "httpx2._transports.default": ("httpx2", "libraries.http.httpx", "patch"),
    "aiohttp.client": ("aiohttp-client", "libraries.http.aiohttp", "patch"),
    "aiohttp.client_reqrep": ("aiohttp-client", "libraries.http.aiohttp", "patch_requests"),
    "aiohttp.streams": ("aiohttp-client", "libraries.http.aiohttp", "patch_streams"),
    "aiobotocore.client": ("aiobotocore", "libraries.aws.aiobotocore", "patch_client"),
    "aiobotocore.endpoint": ("aiobotocore", "libraries.aws.aiobotocore", "patch_endpoint"),
    "s3transfer.crt": ("botocore", "libraries.aws.crt", "patch"),
    "redis.client": ("redis", "libraries.stores.redis", "patch"),
    "redis.cluster": ("redis", "libraries.stores.redis", "patch"),
    "redis.asyncio.client": ("redis", "libraries.stores.redis", "patch"),
    "redis.asyncio.cluster": ("redis", "libraries.stores.redis", "patch"),
    "valkey.client": ("valkey", "libraries.stores.redis", "patch"),
    "valkey.cluster": ("valkey", "libraries.stores.redis", "patch"),
    "valkey.asyncio.client": ("valkey", "libraries.stores.redis", "patch"),
    "valkey.asyncio.cluster": ("valkey", "libraries.stores.redis", "patch"),
    "pymemcache.client.base": ("pymemcache", "libraries.stores.pymemcache", "patch"),
    "pymongo.monitoring": ("pymongo", "libraries.stores.pymongo", "listen"),
    "pymongo.mongo_client": ("pymongo", "libraries.stores.pymongo", "patch"),
    "pymongo.synchronous.mongo_client": ("pymongo", "libraries.stores.pymongo", "patch"),
    "pymongo.asynchronous.mongo_client": ("pymongo", "libraries.stores.pymongo", "patch"),
    "elasticsearch.transport": ("elasticsearch", "libraries.stores.elasticsearch", "patch"),
    "elasticsearch._async.transport": ("elasticsearch", "libraries.stores.elasticsearch", "patch"),
    "elasticsearch._sync.client._base": ("elasticsearch", "libraries.stores.elasticsearch", "patch"),
    "elasticsearch._async.client._base": ("elasticsearch", "libraries.stores.elasticsearch", "patch"),
    "opensearchpy.transport": ("opensearch", "libraries.stores.elasticsearch", "patch"),
    "opensearchpy._async.transport": ("opensearch", "libraries.stores.elasticsearch", "patch"),
    "cassandra.cluster": ("cassandra", "libraries.stores.cassandra", "patch"),
    "neo4j._sync.work.session": ("neo4j", "libraries.stores.neo4j", "patch"),
    "neo4j._sync.work.transaction": ("neo4j", "libraries.stores.neo4j", "patch"),
    "neo4j._sync.work.workspace": ("neo4j", "libraries.stores.neo4j", "patch"),
    "neo4j._async.work.session": ("neo4j", "libraries.stores.neo4j", "patch"),
    "neo4j._async.work.transaction": ("neo4j", "libraries.stores.neo4j", "patch"),
    "neo4j._async.work.workspace": ("neo4j", "libraries.stores.neo4j", "patch"),
    "kafka.producer.kafka": ("kafka", "libraries.messages.kafka", "patch"),
    "aiokafka.producer.producer": ("aiokafka", "libraries.messages.kafka", "patch_async"),
    "confluent_kafka.cimpl": ("confluent_kafka", "libraries.messages.confluent_kafka", "patch"),
    "pika.channel": ("pika", "libraries.messages.pika", "patch"),
    "pika.adapters.blocking_connection": ("pika", "libraries.messages.pika", "patch_blocking"),
    "grpc._channel": ("grpc_client", "libraries.rpc.grpc", "patch"),
    "grpc.aio._channel": ("grpc_aio_client", "libraries.rpc.grpc", "patch_async"),
    "psycopg2": ("psycopg2", "libraries.sql.psycopg2", "patch"),
    "psycopg.cursor": ("psycopg", "libraries.sql.psycopg", "patch"),
    "psycopg.cursor_async": ("psycopg", "libraries.sql.psycopg", "patch"),
    "psycopg.server_cursor": ("psycopg", "libraries.sql.psycopg", "patch"),
    "psycopg._server_cursor": ("psycopg", "libraries.sql.psycopg", "patch"),
    "psycopg._server_cursor_async": ("psycopg", "libraries.sql.psycopg", "patch"),
    "psycopg.connection": ("psycopg", "libraries.sql.psycopg", "patch"),
    "psycopg.connection_async": ("psycopg", "libraries.sql.psycopg", "patch"),
    "psycopg_pool.pool": ("psycopg", "libraries.sql.psycopg", "patch_pool"),
    "psycopg_pool.pool_async": ("psycopg", "libraries.sql.psycopg", "patch_pool"),
    "asyncpg.connection": ("asyncpg", "libraries.sql.asyncpg", "patch_connection"),
    "asyncpg.prepared_stmt": ("asyncpg", "libraries.sql.asyncpg", "patch_prepared"),
    "asyncpg.cursor": ("asyncpg", "libraries.sql.asyncpg", "patch_cursor"),
    "asyncpg.connect_utils": ("asyncpg", "libraries.sql.asyncpg", "patch_connect"),
    "asyncpg.pool": ("asyncpg", "libraries.sql.asyncpg", "patch_pool"),
    "pg8000.core": ("pg8000", "libraries.sql.pg8000", "patch"),
    "pg8000.dbapi": ("pg8000", "libraries.sql.pg8000", "patch_cursor"),
    "pg8000.legacy": ("pg8000", "libraries.sql.pg8000", "patch_cursor"),
    "redshift_connector.core": ("redshift_connector", "libraries.sql.pg8000", "patch_redshift"),
    "redshift_connector.cursor": ("redshift_connector", "libraries.sql.pg8000", "patch_redshift_cursor"),
    "pymysql.cursors": ("pymysql", "libraries.sql.mysql", "patch_pymysql_cursors"),
    "pymysql.connections": ("pymysql", "libraries.sql.mysql", "patch_pymysql"),
    "aiomysql.cursors": ("aiomysql", "libraries.sql.mysql", "patch_aiomysql_cursors"),
    "aiomysql.connection": ("aiomysql", "libraries.sql.mysql", "patch_aiomysql"),
    "aiomysql.pool": ("aiomysql", "libraries.sql.mysql", "patch_aiomysql_pool"),
    "MySQLdb.cursors": ("mysqlclient", "libraries.sql.mysql", "patch_mysqlclient_cursors"),
    "MySQLdb.connections": ("mysqlclient", "libraries.sql.mysql", "patch_mysqlclient"),
    "mysql.connector.cursor": ("mysql", "libraries.sql.mysql_connector", "patch_cursors"),
    "mysql.connector.cursor_cext": ("mysql", "libraries.sql.mysql_connector", "patch_cursors"),
    "mysql.connector.aio.cursor": ("mysql", "libraries.sql.mysql_connector", "patch_cursors"),
    "mysql.connector.connection": ("mysql", "libraries.sql.mysql_connector", "patch_connection"),
    "mysql.connector.connection_cext": ("mysql", "libraries.sql.mysql_connector", "patch_connection"),
    "mysql.connector.aio.connection": ("mysql", "libraries.sql.mysql_connector", "patch_aio_connection"),
    "sqlalchemy.engine.default": ("sqlalchemy", "libraries.sql.sqlalchemy", "patch_dialect"),
    "sqlalchemy.engine.base": ("sqlalchemy", "libraries.sql.sqlalchemy", "patch_engine"),
    "sqlalchemy.pool.impl": ("sqlalchemy", "libraries.sql.sqlalchemy", "patch_pool"),
    "oracledb.cursor": ("oracledb", "libraries.sql.oracle", "patch_cursor"),
    "oracledb.connection": ("oracledb", "libraries.sql.oracle", "patch_connection"),
    "oracledb.pool": ("oracledb", "libraries.sql.oracle", "patch_pool"),
    "snowflake.connector.cursor": ("snowflake", "libraries.sql.snowflake", "patch_cursor"),
    "snowflake.connector.cursor._base": ("snowflake", "libraries.sql.snowflake", "patch_cursor"),
    "snowflake.connector.connection": ("snowflake", "libraries.sql.snowflake", "patch_connection"),
    "snowflake.connector.connection._connection": ("snowflake", "libraries.sql.snowflake", "patch_connection"),
    "pymssql": ("pymssql", "libraries.sql.odbc", "patch_pymssql"),
    "pyodbc": ("pyodbc", "libraries.sql.odbc", "patch_pyodbc"),
    "opentelemetry.trace": ("opentelemetry", "otel.tracer", "patch"),
    "opentelemetry.sdk.trace.sampling": ("opentelemetry", "otel.tracer", "leave_sampling"),
    "aws_xray_sdk": ("", "xray.sdk", "send_to_extension"),
    "aws_xray_sdk.core.lambda_launcher": ("", "xray.sdk", "join"),
    "aws_xray_sdk.core.recorder": ("", "xray.kept", "patch"),
    "aws_xray_sdk.core.async_recorder": ("", "xray.kept", "patch_async"),
    "aws_xray_sdk.ext.httplib.patch": ("", "xray.sdk", "yield_http"),
    "aws_xray_sdk.ext.httpx.patch": ("", "xray.sdk", "yield_httpx"),
    "aws_xray_sdk.ext.pymongo.patch": ("", "xray.sdk", "yield_pymongo"),
    "aws_xray_sdk.ext.dbapi2": ("", "xray.sdk", "yield_statements"),
    "aws_xray_sdk.ext.sqlalchemy_core.patch": ("", "xray.sdk", "yield_core"),
    "flask.app": ("flask", "libraries.web.flask", "patch"),
    "starlette.routing": ("starlette", "libraries.web.starlette", "patch"),
    "starlette.middleware.errors": ("starlette", "libraries.web.starlette", "patch_errors"),
    "fastapi.routing": ("fastapi", "libraries.web.starlette", "patch_included"),
    "django.core.handlers.base": ("django", "libraries.web.django", "patch"),
    "django.core.handlers.exception": ("django", "libraries.web.django", "patch_errors"),
    "aws_lambda_powertools.event_handler.api_gateway": ("powertools", "libraries.web.powertools", "patch"),
    "logging": ("logging", "libraries.log_ids", "patch"),
    "structlog._base": ("logging", "libraries.log_ids", "patch_structlog"),
    "loguru._logger": ("logging", "libraries.log_ids", "patch_loguru"),
}
"""Module -> (name in OTEL_PYTHON_DISABLED_INSTRUMENTATIONS, module with the patch, function that patches)."""

NAMES = {patch[0] for patch in TABLE.values() if patch[0]} | {"threading"}
QUIET = {"logging"}
"""These change what the function writes, and are off until they are asked for."""


class Finder:
    """A meta path finder with a static table. Every other import costs one look into a dictionary.

    A module is patched each time that it is executed: it may be imported again, from elsewhere, or reloaded.
    """

    def __init__(self, recorder: Recorder, disabled: set[str]) -> None:
        self._recorder = recorder
        self._disabled = disabled
        self._table = {name: patch for name, patch in TABLE.items() if patch[0] not in disabled}
        recorder.watch = self.watch

    def install(self) -> None:
        """Patches what is there already, and waits for the rest."""
        for name, patch in self._table.items():
            module = sys.modules.get(name)
            if module is not None:
                self.patch(module, patch)
        sys.meta_path.insert(0, self)

    def watch(self, name: str, patch: tuple[str, str, str]) -> None:
        """One row more."""
        if patch[0] in self._disabled or self._table.get(name) == patch:
            return
        self._table[name] = patch
        if name in sys.modules:
            self.patch(sys.modules[name], patch)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        patch = self._table.get(name)
        if patch is None:
            return None
        for finder in sys.meta_path:
            find: Callable[..., Any] | None = getattr(finder, "find_spec", None)
            spec = None if finder is self or find is None else find(name, path, target)
            if spec is None:
                continue
            # A namespace package has no loader; an old loader has no exec_module: both are left as they are.
            if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                self._stand_in(spec, patch)
            return spec
        return None

    def _stand_in(self, spec: ModuleSpec, patch: tuple[str, str, str]) -> None:
        try:
            from _otel_xray_agent.unseen import Loader

            spec.loader = Loader(spec.loader, lambda module: self.patch(module, patch))
        except Exception as error:  # the function must find its module
            from _otel_xray_agent.record.wire import complain, told

            complain(spec.name, f"{spec.name} is not traced: {told(error)}")

    def patch(self, module: ModuleType, patch: tuple[str, str, str]) -> None:
        _, source, function = patch
        try:
            getattr(__import__(f"_otel_xray_agent.{source}", fromlist=["*"]), function)(module, self._recorder)
        except Exception as error:  # the function must work whatever version it bundles
            from _otel_xray_agent.record.wire import complain, told

            complain(module.__name__, f"{module.__name__} is not traced, this version is not understood: {told(error)}")
