"""What a language model's answer says of itself: the model, tokens read and written, why it ended, tools it asks for.

For whoever has the answer, whole or an event of a stream. Of prompts and answers nothing is recorded.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

INPUT_TOKENS, OUTPUT_TOKENS = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
MODEL, FINISH_REASONS, TOOLS = "gen_ai.response.model", "gen_ai.response.finish_reasons", "gen_ai.tool.name"

_USAGE = ("usage", "usageMetadata", "amazon-bedrock-invocationMetrics")
_INPUT = ("input_tokens", "prompt_tokens", "inputTokens", "inputTokenCount", "promptTokenCount")
_OUTPUT = ("output_tokens", "completion_tokens", "outputTokens", "outputTokenCount", "candidatesTokenCount")
_REASONS = ("finish_reason", "stop_reason", "finishReason", "stopReason")
_OVER = ("completed", "incomplete", "failed", "cancelled")
_OWN, _INSIDE = (
    ("response", "message"),
    (
        *("choices", "delta", "tool_calls", "candidates", "content", "parts", "output", "item", "content_block"),
        *("messageStop", "contentBlockStart", "start", "metadata"),
    ),
)
"""Where more of it stands, with the model's name and without. What a tool is given stands in none of them."""
_TOOL_TYPES = frozenset(("tool_use", "server_tool_use", "mcp_tool_use", "function_call", "custom_tool_call"))
_MAX_NAME, _MAX_LIST, _MAX_DEPTH = 256, 16, 8

_TELLING = re.compile(
    rb'"(?:usage|usageMetadata|amazon-bedrock-invocationMetrics)"\s*:\s*\{'
    rb'|"(?:finish_reason|stop_reason|finishReason|stopReason)"\s*:\s*"'
    rb'|"(?:tool_use|server_tool_use|mcp_tool_use|function_call|custom_tool_call|functionCall|toolUse)"'
    rb'|"function"\s*:\s*\{|"status"\s*:\s*"(?:completed|incomplete|failed|cancelled)"'
)
_NAMING = re.compile(rb'"(?:model|modelVersion)"\s*:\s*"')


def look_in(attributes: dict[str, Any], event: bytes) -> None:
    """The same as ``look``, of JSON. Most events of a stream are a piece of text and nothing else."""
    if _TELLING.search(event) or (MODEL not in attributes and _NAMING.search(event)):
        import json

        look(attributes, json.loads(event))


def look(attributes: dict[str, Any], said: Any, depth: int = 0, *, is_own: bool = True) -> None:
    """Adds what an answer, or an event of it, says to the attributes of its call."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(said, list):
        for one in said:
            look(attributes, one, depth + 1, is_own=False)
    if not isinstance(said, dict):
        return
    if is_own and MODEL not in attributes:
        model = said.get("model") or said.get("modelVersion")
        if isinstance(model, str):
            attributes[MODEL] = model[:_MAX_NAME]
    for name in _USAGE:
        count(attributes, said.get(name))
    for reason in (*(said.get(name) for name in _REASONS), _end_of_response(said)):
        if isinstance(reason, str):
            _add(attributes.setdefault(FINISH_REASONS, []), reason, once=False)
    tool = _tool(said)
    if isinstance(tool, str):
        tools = attributes[TOOLS].split(", ") if TOOLS in attributes else []
        _add(tools, tool, once=True)
        attributes[TOOLS] = ", ".join(tools)
    for name in _OWN:
        look(attributes, said.get(name), depth + 1, is_own=is_own)
    for name in _INSIDE:
        look(attributes, said.get(name), depth + 1, is_own=False)


def count(attributes: dict[str, Any], usage: Any) -> None:
    """Tokens. What is said last counts."""
    if not isinstance(usage, dict):
        return
    for attribute, names in ((INPUT_TOKENS, _INPUT), (OUTPUT_TOKENS, _OUTPUT)):
        for name in names:
            tokens = usage.get(name)
            if type(tokens) is int:
                # A model's thoughts are written, and counted apart by Google.
                thoughts = usage.get("thoughtsTokenCount") if name == "candidatesTokenCount" else 0
                attributes[attribute] = tokens + (thoughts if type(thoughts) is int else 0)


def _end_of_response(said: dict[str, Any]) -> Any:
    """Why an answer of OpenAI's Responses has ended."""
    if said.get("object") != "response" or said.get("status") not in _OVER:
        return None
    details = said.get("incomplete_details")
    return (details.get("reason") if isinstance(details, dict) else None) or said["status"]


def _tool(said: dict[str, Any]) -> Any:
    if said.get("type") in _TOOL_TYPES:
        return said.get("name")
    for name in ("function", "functionCall", "toolUse"):
        called = said.get(name)
        if isinstance(called, dict):
            return called.get("name")
    return None


def _add(names: list[str], name: str, *, once: bool) -> None:
    if name and len(names) < _MAX_LIST and not (once and name in names):
        names.append(name[:_MAX_NAME])
