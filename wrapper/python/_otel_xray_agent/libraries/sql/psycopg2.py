"""PostgreSQL through psycopg2, whose connections and cursors are C types that take no other functions.

What ``connect`` gives are objects of subclasses, under the same names: C code that asks for the types is content, and
what the function has derived from them comes first.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.sql.statement import Database, from_options
from _otel_xray_agent.unseen import leave_unseen, named_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

    from _otel_xray_agent.libraries.calls import Call
    from _otel_xray_agent.libraries.sql.statement import Place
    from _otel_xray_agent.record import Recorder


def patch(module: ModuleType, recorder: Recorder) -> None:
    extensions = module.extensions
    database = Database(recorder, "psycopg2", "postgresql", _where)
    cursors = _Subclasses(_cursor_class(database, extensions.cursor))
    connections = _Subclasses(_connection_class(extensions, cursors))
    original = module._connect

    def _connect(dsn: Any, connection_factory: Any = None, **options: Any) -> Any:
        # A connection that does not wait answers before its call is over.
        if not any(options.values()):
            factory = extensions.connection if connection_factory is None else connection_factory
            connection_factory = connections.of(factory, extensions.connection) or connection_factory
        return original(dsn, connection_factory=connection_factory, **options)

    def where(call: Call) -> Place | None:
        if any(call.options.get(name) for name in ("async", "async_")):
            return None
        return from_options(extensions.parse_dsn(call.given(0, "dsn")))

    module._connect = named_as(_connect, original)
    database.connects(module, "_connect", where)


class _Subclasses:
    """Of each class that is asked for, one that records; the same each time."""

    def __init__(self, recording: type) -> None:
        self._recording = recording
        self._known: dict[type, type | None] = {}

    def of(self, asked: Any, base: type) -> type | None:
        """None where it is no class of the driver's, or one that takes no subclass."""
        if not isinstance(asked, type) or not issubclass(asked, base) or issubclass(asked, self._recording):
            return None
        if asked not in self._known:
            try:
                self._known[asked] = self._made(asked, base)
            except TypeError:
                self._known[asked] = None
        return self._known[asked]

    def _made(self, asked: type, base: type) -> type:
        about = {name: getattr(asked, name) for name in ("__module__", "__qualname__", "__doc__")}
        bases = (self._recording,) if asked is base else (asked, self._recording)
        return type(asked)(asked.__name__, bases, {**about, "__slots__": ()})


def _cursor_class(database: Database, base: Any) -> type:
    functions = ("execute", "executemany", "callproc", "copy_expert", "copy_from", "copy_to")
    recording = type("cursor", (base,), {"__slots__": (), **{name: vars(base)[name] for name in functions}})
    database.statements(recording, "execute")
    database.batches(recording, "executemany", many="vars_list")
    database.procedures(recording, "callproc")
    database.statements(recording, "copy_expert", keyword="sql")
    database.fixed(recording, "COPY", "copy_from", "copy_to")
    return recording


def _connection_class(extensions: Any, cursors: _Subclasses) -> type:
    base = extensions.connection
    original = base.cursor

    def cursor(self: Any, *arguments: Any, **options: Any) -> Any:
        if len(arguments) > 1:
            recording = cursors.of(arguments[1] or self.cursor_factory or extensions.cursor, extensions.cursor)
            if recording is not None:
                arguments = (arguments[0], recording, *arguments[2:])
        else:
            asked = options.get("cursor_factory") or self.cursor_factory or extensions.cursor
            recording = cursors.of(asked, extensions.cursor)
            if recording is not None:
                options["cursor_factory"] = recording
        try:
            return original(self, *arguments, **options)
        except BaseException as error:
            leave_unseen(error)
            raise

    return type("connection", (base,), {"__slots__": (), "cursor": named_as(cursor, original)})


def _where(cursor: Any) -> Place:
    info = cursor.connection.info
    return info.host, info.port, info.dbname, info.user
