"""Items of the Responses API: what tools answered, how a response ended. Pure; linear time."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

_CALLS: Final = ("function_call", "custom_tool_call")
_ANSWERS: Final = ("function_call_output", "custom_tool_call_output")
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_ROUTES: Final = frozenset(
    {
        "aggregate_metrics",
        "close_session",
        "evaluate",
        "get_reward",
        "mcp",
        "reverify_mode",
        "reward",
        "rm",
        "sandbox_access",
        "seed_session",
        "test_program",
        "verify",
    }
)
"""Gym posts a call to the resources server's path of the tool's name, where these are no tools:
some of them answer with what they were sent."""
_FINISHED: Final = (None, "completed")
_CUT: Final = {"max_output_tokens": "length", "max_tokens": "length", None: "length"}


def tool_answers(output: Sequence[object]) -> str | None:
    """All that tools answered among these items, in order; None where none did.

    What the policy could have written itself is left out: items of the assistant, and the answers
    to calls that reached no tool.
    """
    items = [item for item in output if isinstance(item, Mapping)]
    feigned = _feigned(items)
    told = [
        _text(item.get("output"))
        for item in items
        if item.get("type") in _ANSWERS
        and item.get("role") in (None, "tool")
        and str(item.get("call_id")) not in feigned
    ]
    return "\n".join(told) if told else None


def finish_reason(response: Mapping[str, Any]) -> str:
    """Why the policy's last turn ended: `stop`, `length`, or what else the response says."""
    details = response.get("incomplete_details")
    status = response.get("status")
    if isinstance(details, Mapping):
        reason = details.get("reason")
        return _CUT.get(reason, str(reason)) if isinstance(reason, str | None) else "length"
    if status == "incomplete":
        return "length"
    return "stop" if status in _FINISHED else str(status)


def _feigned(items: Sequence[Mapping[str, Any]]) -> set[str]:
    """Ids of the calls whose name leads elsewhere than to a tool."""
    return {
        str(item.get("call_id"))
        for item in items
        if item.get("type") in _CALLS and not _is_tool(item.get("name"))
    }


def _is_tool(name: object) -> bool:
    return isinstance(name, str) and bool(_TOOL_NAME.fullmatch(name)) and name not in _ROUTES


def _text(output: object) -> str:
    """A tool's answer as text; many tools answer in JSON, inside of which tags are escaped."""
    if not isinstance(output, str):
        return "\n".join(_leaves(output))
    if not output.lstrip().startswith(('"', "[", "{")):
        return output
    try:
        value = json.loads(output)
    except (ValueError, RecursionError):
        return output
    if isinstance(value, str):
        return value
    tagged = [leaf for leaf in _leaves(value) if "<" in leaf]
    return "\n".join(tagged) if tagged else output


def _leaves(value: object) -> Iterator[str]:
    """The texts within a JSON value, in order."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            waiting.extend(reversed(list(each.values())))
        elif isinstance(each, list):
            waiting.extend(reversed(each))
