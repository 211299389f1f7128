"""What the calls of all SQL drivers have in common: how a statement is described, and where it goes.

A driver's file says which functions send something, and where an object's server is. The extension masks what is secret
in a statement's text; parameters are never looked at.
"""

from __future__ import annotations

from _otel_xray_agent.libraries.calls import Call, Calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from _otel_xray_agent.record import Recorder

    Place = tuple[Any, Any, Any, Any]
    Where = Callable[[Any], Place]
    Batch = Callable[[Call], Any]

NOWHERE: Place = (None, None, None, None)
_KEPT = "_otel_xray_place"
"""On a connection: where it leads, as it was asked for."""
MAX_TEXT = 4096
"""Characters of a statement that are kept."""


class Database:
    """Records the calls of one driver. Where they go is told as host, port, database and user."""

    def __init__(self, recorder: Recorder, library: str, system: str | Callable[[Any], str], where: Where) -> None:
        self.calls = Calls(recorder, library, "a database call")
        self._system = system
        """As the semantic conventions name it, or what finds that out: of the object, or of the call that connects."""
        self._where = where

    def statements(self, owner: Any, *names: str, at: int = 1, keyword: str = "query", text: Any = None) -> None:
        """Functions that send the statement they are given, or the one that ``text`` finds for their object."""

        def describe(call: Call) -> str:
            statement = call.given(at, keyword) if text is None else text(call.arguments[0])
            return self.describe_statement(call, call.arguments[0], statement)

        for name in names:
            self.calls.record(owner, name, describe, tell)

    def batches(self, owner: Any, name: str, keyword: str = "query", many: str = "args") -> None:
        """The same for a statement and a list of parameters for it."""

        def describe(call: Call) -> str:
            self.describe_batch(call, call.given(2, many))
            return self.describe_statement(call, call.arguments[0], call.given(1, keyword))

        self.calls.record(owner, name, describe, tell)

    def procedures(self, owner: Any, name: str, keyword: str = "procname") -> None:
        def describe(call: Call) -> str:
            call.span.attributes["db.stored_procedure.name"] = str(call.given(1, keyword))[:MAX_TEXT]
            return self.describe(call, "CALL", self.where(call.arguments[0]), call.arguments[0])

        self.calls.record(owner, name, describe, tell)

    def fixed(self, owner: Any, operation: str, *names: str) -> None:
        """Functions that send what goes on with a statement, such as the next rows of a cursor."""

        def describe(call: Call) -> str:
            return self.describe(call, operation, self.where(call.arguments[0]), call.arguments[0])

        for name in names:
            self.calls.record(owner, name, describe, tell)

    def connects(
        self, owner: Any, name: str, where: Callable[[Call], Place | None], what: str = "connect", *, keep: bool = False
    ) -> None:
        """A function that waits for a connection: a new one, or with ``what`` one of a pool. None: it does not wait.

        ``keep``: the object itself knows nothing of where it leads, ``kept`` does then.
        """

        def describe(call: Call) -> str | None:
            try:
                place = where(call)
            except Exception:  # arguments that the driver refuses
                place = NOWHERE
            return None if place is None else self.describe(call, what, place, call, is_operation=False)

        begin = self.calls.begins(describe)

        def keeping(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
            # Most connections are made before the first invocation.
            nothing: Any = None
            try:
                arguments[0].__dict__[_KEPT] = where(Call(nothing, None, arguments, options))
            except Exception as error:  # the call comes first
                self.calls.complain("does not tell where it leads", error)
            return begin(arguments, options)

        self.calls.stand_in(owner, name, keeping if keep else begin, self.calls.ends(tell))

    def describe_statement(self, call: Call, target: Any, statement: Any) -> str:
        text = text_of(statement)
        call.span.attributes["db.query.text"] = text
        return self.describe(call, operation_of(text), self.where(target), target)

    def describe_batch(self, call: Call, parameters: Any) -> None:
        if isinstance(parameters, (list, tuple)) and len(parameters) > 1:
            call.span.attributes["db.operation.batch.size"] = len(parameters)

    def describe(self, call: Call, operation: str, place: Place, target: Any, *, is_operation: bool = True) -> str:
        host, port, database, user = place
        attributes = call.span.attributes
        system = self._system
        attributes["db.system.name"] = system if isinstance(system, str) else system(target)
        attributes["server.address"] = plain(host)
        if not str(host).startswith("/"):
            attributes["server.port"] = int(port) if str(port or "").isdecimal() else None
        attributes["db.namespace"] = database = plain(database)
        attributes["db.user"] = plain(user)
        if is_operation:
            attributes["db.operation.name"] = operation or None
        return f"{operation or 'statement'} {database}" if database else operation or "statement"

    def where(self, target: Any) -> Place:
        try:
            return self._where(target)
        except Exception:  # a connection that is closed, or not yet open
            return NOWHERE


def kept(connection: Any) -> Place:
    place: Place = connection.__dict__[_KEPT]
    return place


def tell(call: Call, _: Any, error: BaseException | None) -> None:
    if error is not None:
        code = code_of(error)
        if code is not None:
            call.span.attributes["db.response.status_code"] = call.span.attributes["error.type"] = code


def code_of(error: BaseException) -> str | None:
    """The database's own code: MySQL's and Oracle's number, or an SQLSTATE."""
    if isinstance(error, OSError) or type(error).__module__ == "builtins":
        return None
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number > 0:
        return str(number)
    first = error.args[0] if error.args else None
    if isinstance(first, tuple) and first:
        first = first[0]
    for name in () if isinstance(first, int) else ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(error, name, None)
        if isinstance(code, str) and code:
            return code
    if isinstance(first, dict):  # the fields of PostgreSQL's answer
        first = first.get("C")
    elif isinstance(getattr(first, "full_code", None), str):
        first = first.full_code
    if isinstance(first, int) and first > 0 and not isinstance(first, bool):
        return str(first)
    return first if isinstance(first, str) and len(first) <= 10 and _is_code(first) else None


def _is_code(text: str) -> bool:
    """``23505``, ``42S02``, ``ORA-00942``: no word."""
    return text.isascii() and text.isupper() | text.isdecimal() and any(map(str.isdigit, text)) and " " not in text


def plain(value: Any) -> str | None:
    if value is None or value == "" or value == b"":
        return None
    return value.decode("utf-8", "replace") if isinstance(value, (bytes, bytearray)) else str(value)


def text_of(statement: Any) -> str:
    """As it was given, with its placeholders. What PostgreSQL's drivers put together shows no value either."""
    if isinstance(statement, str):
        return statement[:MAX_TEXT]
    if isinstance(statement, (bytes, bytearray)):
        return statement[:MAX_TEXT].decode("utf-8", "replace")
    strings = getattr(statement, "strings", None)
    if type(statement).__name__ == "Template" and isinstance(strings, tuple):
        return "?".join(strings)[:MAX_TEXT]
    if hasattr(statement, "as_string"):
        return _composed(statement)[:MAX_TEXT]
    # SQLAlchemy's, whose text is made when it is run; None where the last one is meant.
    return ""


def _composed(part: Any) -> str:
    """``psycopg2.sql`` and ``psycopg.sql``: what they hold is known by the names of its classes."""
    held = getattr(part, "_obj", None) if hasattr(part, "_obj") else getattr(part, "_wrapped", None)
    kind = type(part).__name__
    if kind == "Composed":
        return "".join(map(_composed, held or ()))
    if kind == "SQL":
        return str(held)
    if kind == "Identifier":
        names = held if isinstance(held, (tuple, list)) else (held,)
        return ".".join('"' + str(name).replace('"', '""') + '"' for name in names)
    return "%s" if kind == "Placeholder" else "?"


def operation_of(text: str) -> str:
    """The first word, behind comments, in capitals."""
    at, end = 0, len(text)
    while at < end:
        if text[at] in " \t\r\n\f;(":
            at += 1
        elif text.startswith("--", at) or text.startswith("#", at):
            line = text.find("\n", at)
            at = end if line < 0 else line
        elif text.startswith("/*", at):
            close = text.find("*/", at)
            at = end if close < 0 else close + 2
        else:
            break
    word = at
    while word < end and word - at < 30 and (text[word].isalpha() or text[word] == "_"):
        word += 1
    return text[at:word].upper()


def from_options(options: Mapping[str, Any], defaults: Place = NOWHERE) -> Place:
    """Where the keyword arguments of a ``connect`` lead, by the names that drivers have for them."""
    host = options.get("host") or options.get("server") or options.get("hostaddr") or defaults[0]
    database = options.get("database") or options.get("dbname") or options.get("db") or defaults[2]
    return (
        host,
        options.get("port") or defaults[1],
        database,
        options.get("user") or options.get("username") or defaults[3],
    )
