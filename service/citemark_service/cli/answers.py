"""What graders have answered, read back as results, in any of the forms that it is kept in.

a result                          a line of `citemark score`, or `/v1/score` for one rollout
{"items": [result, …]}            `/v1/score` for a batch
{"line": …, "type": …, …}         a line of `/v1/score/stream`, a result or an error
{"rollout": …, "result": …, …}    a line of `citemark export`
"""

from collections.abc import Iterator
from typing import Any

from pydantic_core import from_json

from citemark_schemas import Rollout, ScoreResponse, ScoreResult, StreamLine
from citemark_service.score.formula import restore_terms

_RESULT = {"reward", "versions"}  # a rollout has neither
_STREAM_LINE = {"line", "type"}
_EXPORTED = {"rollout", "result"}


def is_answer(raw: bytes) -> bool:
    """Whether a row is meant as one of these forms; it may be malformed still."""
    try:
        row = from_json(raw)
    except ValueError:
        return False
    return isinstance(row, dict) and _is_answer(row)


def _is_answer(row: dict[str, Any]) -> bool:
    if any(row.keys() >= form for form in (_RESULT, _STREAM_LINE, _EXPORTED)):
        return True
    items = row.get("items")
    if not isinstance(items, list):
        return False
    return all(isinstance(item, dict) and item.keys() >= _RESULT for item in items)


def read_answer_row(raw: bytes) -> Iterator[ScoreResult | StreamLine]:
    """The results of a row, or the stream line that is an error.

    Raises:
        ValueError: the row is none of these forms.
    """
    row = from_json(raw)
    names = row.keys() if isinstance(row, dict) else ()
    if "items" in names:
        yield from map(restore_terms, ScoreResponse.model_validate(row).items)
    elif set(names) >= _EXPORTED:
        yield restore_terms(ScoreResult.model_validate(row["result"]))
    elif set(names) >= _STREAM_LINE:
        line = StreamLine.model_validate(row)
        yield line if line.result is None else restore_terms(line.result)
    else:
        yield restore_terms(ScoreResult.model_validate(row))


def answered_rollout(raw: bytes) -> Rollout | None:
    """The rollout that a row holds beside its result; None where it holds none.

    Raises:
        ValueError: it is malformed.
    """
    row = from_json(raw)
    if isinstance(row, dict) and row.keys() >= _EXPORTED:
        return Rollout.model_validate(row["rollout"])
    return None
