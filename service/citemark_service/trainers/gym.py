"""NeMo Gym's data: items of the Responses API, and aggregate metrics. Linear time."""

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from citemark_schemas.bulk import Bulky, loads

_CALLS: Final = ("function_call", "custom_tool_call")
_ANSWERS: Final = ("function_call_output", "custom_tool_call_output")
_TOOL_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")
# Gym posts a tool call to the resources server's path of the tool's name. These paths are no
# tools, and some of them echo the call: a policy could write its own sources with them.
_ROUTES: Final = frozenset({
    "aggregate_metrics", "close_session", "evaluate", "get_reward", "mcp", "reverify_mode",
    "reward", "rm", "sandbox_access", "seed_session", "test_program", "verify",
})  # fmt: skip
_CUT: Final = {"max_output_tokens": "length", "max_tokens": "length", None: "length"}

_TASK: Final = "_ng_task_index"
_MASK: Final = "mask_sample"
_APART: Final = frozenset({_TASK, "_ng_rollout_index", _MASK})  # numbers that are no measurements
_LARGEST: Final = 1e150  # the sum of many squares of such values is still finite


def tool_answers(output: Sequence[object]) -> str | None:
    """The outputs of tools among these items, in order; None without any.

    Whatever the policy could have written itself is left out: items of the assistant, and outputs
    of calls that reached no tool.
    """
    items = [item for item in output if isinstance(item, Mapping)]
    feigned = {
        str(item.get("call_id"))
        for item in items
        if item.get("type") in _CALLS and not _is_tool(item.get("name"))
    }
    answers = [
        _text_of(item.get("output"))
        for item in items
        if item.get("type") in _ANSWERS
        and item.get("role") in (None, "tool")
        and str(item.get("call_id")) not in feigned
    ]
    return "\n".join(answers) if answers else None


def _is_tool(name: object) -> bool:
    return isinstance(name, str) and bool(_TOOL_NAME.fullmatch(name)) and name not in _ROUTES


def _text_of(output: object) -> str:
    """A tool's output as text, from which source tags can be parsed."""
    if not isinstance(output, str):
        return "\n".join(_leaves(output))
    # Many tools answer in JSON, in whose strings the quotes of source tags are escaped.
    if not output.lstrip().startswith(('"', "[", "{")):
        return output
    try:
        value = loads(output)
    except Bulky:
        raise
    except (ValueError, RecursionError):
        return output
    if isinstance(value, str):
        return value
    return "\n".join(leaf for leaf in _leaves(value) if "<" in leaf) or output


def _leaves(value: object) -> Iterator[str]:
    """All strings in a JSON value, in order."""
    waiting = [value]  # no recursion: a hostile value may be nested deeply
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            yield each
        elif isinstance(each, Mapping):
            waiting.extend(reversed(list(each.values())))
        elif isinstance(each, list):
            waiting.extend(reversed(each))


def finish_reason(response: Mapping[str, Any]) -> str:
    """Why the policy's last turn ended: `stop`, `length`, or the response's own word."""
    details, status = response.get("incomplete_details"), response.get("status")
    if isinstance(details, Mapping):
        reason = details.get("reason")
        return _CUT.get(reason, str(reason)) if isinstance(reason, str | None) else "length"
    if status == "incomplete":
        return "length"
    return "stop" if status in (None, "completed") else str(status)


def aggregate_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Gym's `AggregateMetrics`: `group_level_metrics`, `agent_metrics` and `key_metrics`.

    For every number in a row and its `response.usage`: mean, max, min, median and sample standard
    deviation, over all rows and per task, under Gym's names (`mean/reward`). Rows whose
    `mask_sample` is true were not judged: they are only counted.
    """
    measured = [row for row in rows if not row.get(_MASK)]
    tasks: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in measured:
        tasks[_task_of(row)].append(row)
    overall = _describe(measured)
    means = {key: value for key, value in overall.items() if key.startswith("mean/")}
    coverage = {}  # as in Gym, absent where every row was measured
    if len(measured) < len(rows):
        coverage = {
            "coverage/measured_rollouts": len(measured),
            "coverage/masked_rollouts": len(rows) - len(measured),
            "coverage/measured_tasks": len(tasks),
            "coverage/fully_masked_tasks": len({_task_of(row) for row in rows} - tasks.keys()),
        }
    return {
        "group_level_metrics": [{**_describe(tasks[at]), _TASK: at} for at in sorted(tasks)],
        "agent_metrics": {**overall, **coverage},
        "key_metrics": {**means, **coverage},
    }


def _task_of(row: Mapping[str, Any]) -> int:
    index = row.get(_TASK)
    return index if isinstance(index, int) else 0


def _describe(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    columns: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        response = row.get("response")
        usage = response.get("usage") if isinstance(response, Mapping) else None
        for name, value in {**row, **(usage if isinstance(usage, Mapping) else {})}.items():
            if name not in _APART and isinstance(value, int | float) and abs(value) <= _LARGEST:
                columns[name].append(float(value))
    described: dict[str, float] = {}
    for name, values in columns.items():
        mean = math.fsum(values) / len(values)
        squares = math.fsum((value - mean) ** 2 for value in values)
        described[f"mean/{name}"] = mean
        described[f"max/{name}"] = max(values)
        described[f"min/{name}"] = min(values)
        described[f"median/{name}"] = statistics.median(values)
        described[f"std/{name}"] = math.sqrt(squares / max(1, len(values) - 1))
    return described
