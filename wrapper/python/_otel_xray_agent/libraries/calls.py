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
    Carry = Callable[["Call"], None]
    Told = Callable[..., "BaseException | None"]

_GENERATOR, _COROUTINE, _ASYNC_GENERATOR = 0x20, 0x80, 0x200
"""Of a function's code: what calling it gives."""
_DONE = "_otel_xray_calls"
"""On a function that stands in for another: a module that is known by two names is patched once."""


class Call:
    """One call that is recorded. Who describes it may change its arguments, and leave a note for who tells its end."""

    __slots__ = ("arguments", "is_nested", "note", "options", "see", "span", "token")

    def __init__(self, span: Span, token: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.is_nested = False
        """Whether it goes out in the name of the call around it, whose span this is."""
        self.span = span
        self.token = token
        self.arguments = arguments
        """As the function is called, its object first."""
        self.options = options
        self.note: Any = None
        self.see: Callable[[Any], None] | None = None
        """What is shown each item of a generator, and lets no error out."""

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

    def record(
        self, owner: Any, name: str, describe: Describe, tell: Tell | None = None, carry: Carry | None = None
    ) -> None:
        """Puts a recording function in the place of the one that ``owner``, a class or a module, itself defines.

        ``describe`` gives the span its attributes and says its name, None where this is no call. ``tell`` adds what
        came back; where it gives True, the call goes on, and it has seen to its end. ``carry`` puts the trace into what
        goes out, also where that is a part of another call (PL-63); who describes and carries at once names the span
        before, or like calls are not folded.
        """
        self.stand_in(owner, name, self.begins(describe, carry), self.ends(tell))

    def stand_in(self, owner: Any, name: str, begin: Begin, end: End) -> None:
        """The same, with what begins and ends a call given: of ``begins``, ``carries``, ``resumes`` or ``leaves``, and
        ``ends``."""
        found = vars(owner).get(name)
        if found is None or getattr(found, _DONE, False):
            return
        is_of_class = isinstance(found, classmethod)
        standing = around(found.__func__ if is_of_class else found, begin, end)
        setattr(owner, name, classmethod(standing) if is_of_class else standing)

    def begins(self, describe: Describe, carry: Carry | None = None) -> Begin:
        recorder = self.recorder
        passes = None if carry is None else self.carries(carry, lambda: recorder.calling(self.library))

        def begin(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
            call = None
            try:
                begun = recorder.call("", self.library)
                if begun is None:
                    return None if passes is None else passes(arguments, options)
                call = Call(*begun, arguments, options)
                name = describe(call)
                if name is None:
                    recorder.disclose(*begun)
                    return None
                call.span.name = name
                if carry is not None:
                    carry(call)
                recorder.announce_call(call.span)
            except Exception as error:  # the call comes first
                self.complain("could not be recorded", error)
                if call is not None:
                    call.span.name = call.span.name or self.library
                    call.arguments, call.options = arguments, options
            return call

        return begin

    def carries(self, carry: Carry, find: Callable[[], Span | None]) -> Begin:
        """A function that only sends, in the name of what ``find`` gives."""

        def begin(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
            try:
                span = find()
                if span is not None:
                    call = Call(span, None, arguments, options)
                    call.is_nested = True
                    carry(call)
                    return call
            except Exception as error:  # the call comes first
                self.complain("could not be told of its trace", error)
            return None

        return begin

    def resumes(self, find: Callable[[Any], Span | None], *, told: bool = False) -> Begin:
        """A call that was set aside, ``told`` if as answered, is waited for again. ``find`` gives it for the function's
        object."""

        def begin(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
            try:
                span = find(arguments[0])
                if span is not None:
                    self.recorder.take_up(span, told=told)
                    return Call(span, None, arguments, options)
            except Exception as error:  # the call comes first
                self.complain("could not be recorded to its end", error)
            return None

        return begin

    def leaves(self, find: Callable[[Any], Span | None]) -> Begin:
        """Nobody will wait for the call any more. One that was set aside was over then."""

        def begin(arguments: tuple[Any, ...], options: dict[str, Any]) -> Call | None:
            try:
                span = find(arguments[0])
                return None if span is None else Call(span, None, arguments, options)
            except Exception as error:  # the call comes first
                self.complain("could not be recorded to its end", error)
            return None

        return begin

    def ends(self, tell: Tell | None) -> End:
        recorder = self.recorder

        def end(call: Call, result: Any, error: BaseException | None) -> None:
            if call.is_nested:
                return
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

    def later(self, call: Call, tell: Told) -> Callable[..., None]:
        """What a library is to call back, in whichever thread, when a call that goes on is over.

        ``tell`` adds what it is called with, and gives the error if that is one.
        """
        recorder, span = self.recorder, call.span
        recorder.set_aside(span)

        def over(*came: Any) -> None:
            try:
                error = tell(span, *came)
                recorder.take_up(span)
                recorder.finish(span, None, error)
            except Exception as trouble:  # nobody else is there to hear of it
                self.complain("could not be recorded to its end", trouble)

        return over

    def complain(self, what: str, error: BaseException) -> None:
        complain(self.library, f"{self.one} {what}: {told(error)}")


def around(original: Any, begin: Begin, end: End) -> Any:
    """What stands in for a function, or for one of coroutines or generators, which it then is itself."""
    code = getattr(original, "__code__", None)  # none of what is written in C
    flags = code.co_flags if code is not None else 0
    if flags & (_GENERATOR | _ASYNC_GENERATOR):
        call = _around_each(original, begin, end, is_async=bool(flags & _ASYNC_GENERATOR))
    elif flags & _COROUTINE:

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


def _around_each(original: Any, begin: Begin, end: End, *, is_async: bool) -> Any:
    """It begins with the first item that is asked for. Who wants no more of them breaks nothing off."""

    async def each_to_come(*arguments: Any, **options: Any) -> Any:
        begun = begin(arguments, options)
        items = original(*arguments, **options)
        try:
            async for item in items:
                if begun is not None and begun.see is not None:
                    begun.see(item)
                yield item
        except GeneratorExit:
            if begun is not None:
                end(begun, None, None)
            raise
        except BaseException as error:
            if begun is not None:
                end(begun, None, error)
            leave_unseen(error)
            raise
        finally:
            await items.aclose()
        if begun is not None:
            end(begun, None, None)

    def each(*arguments: Any, **options: Any) -> Any:
        begun = begin(arguments, options)
        try:
            items = original(*arguments, **options)
            result = yield from (items if begun is None or begun.see is None else _seen(items, begun.see))
        except GeneratorExit:
            if begun is not None:
                end(begun, None, None)
            raise
        except BaseException as error:
            if begun is not None:
                end(begun, None, error)
            leave_unseen(error)
            raise
        if begun is not None:
            end(begun, result, None)
        return result

    return each_to_come if is_async else each


def _seen(items: Any, see: Callable[[Any], None]) -> Any:
    try:
        for item in items:
            see(item)
            yield item
    finally:
        items.close()
