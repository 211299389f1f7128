"""HTTP requests that ask a language model: of OpenAI's, Anthropic's and Google's interfaces, by their clients, and what
asks their servers. Read with the first request whose path looks like one.
"""

from __future__ import annotations

import json
import re
import sys

from _otel_xray_agent.libraries.models import MODEL, count, look, look_in
from _otel_xray_agent.record.wire import complain, told

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from _otel_xray_agent.record.trace import Span

_OPERATIONS = {
    **{"chat/completions": "chat", "responses": "chat", "messages": "chat"},
    **{"completions": "text_completion", "embeddings": "embeddings"},
    **{"generateContent": "generate_content", "streamGenerateContent": "generate_content"},
    **{"embedContent": "embeddings", "batchEmbedContents": "embeddings"},
}
_CALL = re.compile(
    r"/(chat/completions|completions|responses|messages|embeddings)$"
    r"|/models/([^/:]{1,256}):(generateContent|streamGenerateContent|embedContent|batchEmbedContents)$"
)
_SERVERS = re.compile(r"(?:^|\.)(?:openai\.com|openai\.azure\.com|anthropic\.com)$")
_GOOGLES = re.compile(r"(?:^|\.)(?:generativelanguage|[a-z0-9-]*aiplatform)\.googleapis\.com$")

_MAX_REQUEST = 262_144
"""Bytes of a request that are looked at: the answer says the model as well."""
_MAX_WHOLE = 262_144
"""Bytes of an answer that is read as a whole, or of an event. Of a longer answer the two ends are."""
_HEAD, _TAIL = 1_024, 8_192
_LAST_USAGE = re.compile(r'.*(?<!\\)"usage(?:Metadata)?"\s*:\s*(?=\{)', re.DOTALL)
_FIRST_MODEL = re.compile(r'\s*\{[^{}[\]]*(?<!\\)"model"\s*:\s*"([^"\\]{1,256})"')
_LAST_MODEL = re.compile(r'(?<!\\)"model"\s*:\s*"([^"\\]{1,256})"')


def asks(span: Span, request: Any) -> bool:
    """Whether this request of httpx asks a model; then its span says so, and which one."""
    found = _CALL.search(request.url.path)
    if found is None:
        return False
    what, model, googles = found.groups()
    headers, host = request.headers, request.url.host
    if googles:
        if not (_GOOGLES.search(host) or "google-genai-sdk" in headers.get("x-goog-api-client", "")):
            return False
        is_vertex = "/publishers/" in request.url.path or "/projects/" in request.url.path
        provider = "gcp.vertex_ai" if is_vertex else "gcp.gemini"
    else:
        is_anthropics = "anthropic-version" in headers
        is_known = is_anthropics or "x-stainless-lang" in headers or _SERVERS.search(host)
        if is_anthropics != (what == "messages") or not is_known:
            return False
        provider = "anthropic" if is_anthropics else "openai"
        model = _model_of(request)
    span.attributes["gen_ai.provider.name"] = provider
    span.attributes["gen_ai.operation.name"] = _OPERATIONS[googles or what]
    span.attributes["gen_ai.request.model"] = model
    return True


def _model_of(request: Any) -> str | None:
    body = request.__dict__.get("_content", b"")
    if not 0 < len(body) <= _MAX_REQUEST or "json" not in request.headers.get("content-type", ""):
        return None
    try:
        asked = json.loads(body)
    except ValueError:
        return None
    model = asked.get("model") if isinstance(asked, dict) else None
    return model[:256] if isinstance(model, str) else None


class Answer:
    """An answer, as it is read."""

    def __init__(self, span: Span, response: Any) -> None:
        self._attributes = span.attributes
        self._is_stream = "event-stream" in response.headers.get("content-type", "")
        self._decoder = _decoder(response)
        self._head: bytes | None = None
        """The beginning of an answer that is too long to be kept."""
        self._kept = bytearray()
        """A line that goes on, the answer so far, or its end."""

    def feed(self, data: bytes) -> None:
        try:
            self._feed(data if self._decoder is None else self._decoder.decode(data))
        except Exception as error:  # a model's answer comes first
            self._complain(error)

    def over(self) -> None:
        """It is over, or broken off."""
        try:
            if self._decoder is not None:
                decoder, self._decoder = self._decoder, None
                self._feed(decoder.flush())
            if self._is_stream:
                self._feed(b"\n")
            elif self._head is not None:
                _look_at_ends(self._attributes, self._head.decode("latin-1"), self._kept.decode("latin-1"))
            elif self._kept.rstrip()[-1:] == b"}":
                look(self._attributes, json.loads(self._kept))
        except Exception as error:  # a model's answer comes first
            self._complain(error)
        self._kept = bytearray()

    def _feed(self, data: bytes) -> None:
        kept = self._kept
        kept += data
        if self._is_stream:
            end = kept.rfind(b"\n") + 1
            if end:
                for line in bytes(kept[:end]).splitlines():
                    if line.startswith(b"data:") and len(line) <= _MAX_WHOLE:
                        look_in(self._attributes, line[5:])
                del kept[:end]
            if len(kept) > _MAX_WHOLE:
                # It is none that tells: what comes after it is.
                del kept[1:]
        elif self._head is not None:
            del kept[:-_TAIL]
        elif len(kept) > _MAX_WHOLE:
            self._head = bytes(kept[:_HEAD])
            del kept[:-_TAIL]

    def _complain(self, error: Exception) -> None:
        self._decoder, self._is_stream, self._kept = None, False, bytearray()
        complain("models", f"what a model's answer says of itself could not be recorded: {told(error)}")


def _look_at_ends(attributes: dict[str, Any], head: str, tail: str) -> None:
    model, usage = _FIRST_MODEL.match(head), _LAST_USAGE.match(tail)
    if usage is not None:
        count(attributes, json.JSONDecoder().raw_decode(tail, usage.end())[0])
        # What stands right in front of it, in nothing that is closed in between, is of the same object.
        begin = max(tail.rfind(sign, 0, usage.end()) for sign in "{}[]")
        model = model or _LAST_MODEL.search(tail, begin + 1, usage.end())
    if model is not None:
        attributes[MODEL] = model[1]


def _decoder(response: Any) -> Any:
    """One like that which the library itself reads the answer with."""
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return None
    decoders = sys.modules[f"{type(response).__module__.partition('.')[0]}._decoders"]
    return decoders.SUPPORTED_DECODERS[encoding]()
