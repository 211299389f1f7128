"""Calls to something outside, whichever library makes them: they come first, and what is recorded of them second.

A library's file says of each function how a call of it is described, and how what came back is. Here is what stands in
the function's place: under its name and signature, in no traceback, and with a guard around all that is not the call.
"""

from __future__ import annotations

from _otel_xray_agent.record.wire import complain, told
from _otel_xray_agent.unseen import leave_unseen, named_as

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from _otel_xray_agent.record import Recorder
    from _otel_xray_agent.record.trace import Span

    Begin = Callable[[tuple[Any, ...], dict[str, Any]], "Call | None"]
    End = Callable[["Call", Any, "BaseException | None"], None]
    Describe = Callable[["Call"], "str | None"]
    Tell = Callable[["Call", Any, "BaseException | None"], "bool | None"]

_COROUTINE = 0x80
"""Of a function's code: calling it gives a coroutine."""
_DONE = "_otel_xray_calls"
"""On a function that stands in for another: a module that is known by two names is patched once."""


class Call:
    """One call that is recorded. Who describes it may change its arguments, and leave a note for who tells its end."""

    __slots__ = ("arguments", "note", "options", "span", "token")

    def __init__(self, span: Span, token: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.span = span
        self.token = token
        self.arguments = arguments
        """As the function is called, its object first."""
        self.options = options
        self.note: Any = None

    def given(self, at: int, name: str) -> Any:
        """An argument, whether by its place or by its name."""
        return self.arguments[at] if at < len(self.arguments) else self.options.get(name)

    def give(self, at: int, name: str, value: Any) -> None:
        """Hands over another one, as that was given. What the caller holds stays as it is."""
        if at < len(self.arguments):
            self.arguments = (*self.arguments[:at], value, *self.arguments[at + 1 :])
        else:
            self.options = {**self.options, name: value}


class Calls:
    """Records the calls of one library."""

    def __init__(self, recorder: Recorder, library: str, one: str) -> None:
        self.recorder = recorder
        self.library = library
        """As settings and X-Ray SDKs name it."""
        self.one = one
        """What one of them is called in a complaint, such as ``an AWS call``."""

    def record(self, owner: Any, name: str, describe: Describe, tell: Tell | None = None) -> None:
        """Puts a recording function in the place of the one that ``owner``, a class or a module, itself defines.

        ``describe`` gives the span its attributes and says its name, None where this is no call. Where it hands on the
        trace it names the span before, or like calls are not folded. ``tell`` adds what came back; where it gives
        True, the call goes on, and it has seen to its end.
        """
        self.stand_in(owner, name, self.begins(describe), self.ends(tell))

    def stand_in(self, owner: Any, name: str, begin: Begin, end: End) -> None:
        """The same, with what begins and ends a call given: of ``begins`` or ``resumes``, and ``ends``."""
        found = vars(owner).get(name)
        if found is None or getattr(found, _DONE, False):
            return
        is_of_class = isinstance(found, classmethod)
        standing = around(found.__func__ if is_of_class else found, begin, end)
        setattr(owner, name, classmethod(standing) if is_of_class else standing)

    def begins(self, describe: Describe) -> Begin:
        recorder = self.recorder

        def begin(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
            call = None
            try:
                begun = recorder.call("", self.library)
                if begun is None:
                    return None
                call = Call(*begun, arguments, options)
                name = describe(call)
                if name is None:
                    recorder.disclose(*begun)
                    return None
                call.span.name = name
                recorder.announce_call(call.span)
            except Exception as error:  # the call comes first
                self.complain("could not be recorded", error)
                if call is not None:
                    call.span.name = call.span.name or self.library
                    call.arguments, call.options = arguments, options
            return call

        return begin

    def resumes(self, find: Callable[[Any], Span | None]) -> Begin:
        """A call that was set aside is waited for again. ``find`` gives it for the function's object."""

        def begin(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
            try:
                span = find(arguments[0])
                if span is not None:
                    self.recorder.take_up(span)
                    return Call(span, None, arguments, options)
            except Exception as error:  # the call comes first
                self.complain("could not be recorded to its end", error)
            return None

        return begin

    def ends(self, tell: Tell | None) -> End:
        recorder = self.recorder

        def end(call: Call, result: Any, error: BaseException | None) -> None:
            try:
                goes_on = tell is not None and tell(call, result, error)
            except Exception as trouble:  # the call comes first
                self.complain("could not be recorded to its end", trouble)
                goes_on = False
            if goes_on:
                recorder.disclose(call.span, call.token)
            else:
                recorder.finish(call.span, call.token, error)

        return end

    def complain(self, what: str, error: BaseException) -> None:
        complain(self.library, f"{self.one} {what}: {told(error)}")


def around(original: Any, begin: Begin, end: End) -> Any:
    """What stands in for a function, or for a coroutine function, which it then is itself."""
    if original.__code__.co_flags & _COROUTINE:

        async def call(*arguments: Any, **options: Any) -> Any:
            begun = begin(arguments, options)
            if begun is not None:
                arguments, options = begun.arguments, begun.options
            try:
                result = await original(*arguments, **options)
            except BaseException as error:
                if begun is not None:
                    end(begun, None, error)
                leave_unseen(error)
                raise
            if begun is not None:
                end(begun, result, None)
            return result

    else:

        def call(*arguments: Any, **options: Any) -> Any:
            begun = begin(arguments, options)
            if begun is not None:
                arguments, options = begun.arguments, begun.options
            try:
                result = original(*arguments, **options)
            except BaseException as error:
                if begun is not None:
                    end(begun, None, error)
                leave_unseen(error)
                raise
            if begun is not None:
                end(begun, result, None)
            return result

    setattr(call, _DONE, True)
    return named_as(call, original)
