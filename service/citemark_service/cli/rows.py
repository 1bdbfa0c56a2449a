"""Rollouts from JSON lines, and results in all forms in which users keep them."""

import difflib
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json

from citemark_schemas import Rollout, ScoreResponse, ScoreResult, StreamLine, to_details
from citemark_schemas.rubric import IGNORED_KEYS
from citemark_service.score.formula import restore_terms
from citemark_service.trainers.files import parse_line

_NEAR = (
    0.88  # of difflib: "citation_wieght" is .93 from its field, "response_id" .84 from "response"
)
_RESULT = {"reward", "versions"}  # a rollout has neither
_STREAM_LINE = {"line", "type"}
_EXPORTED = {"rollout", "result"}


@dataclass(frozen=True, slots=True)
class RolloutRow:
    line: int  # from 1
    position: int  # from 0, blank lines not counted
    rollout: Rollout

    @property
    def id(self) -> str:
        return str(self.position) if self.rollout.id is None else self.rollout.id


class BadLine(NamedTuple):
    """A line without a valid rollout; the other rows go on."""

    line: int
    message: str


class RowReader:
    """Iterates once over JSON lines, without the blank ones.

    Unknown columns are moved into `metadata` and collected in `moved`. One that looks like a
    misspelt field makes its line bad, as does an id that an earlier line has. `ignored` is the
    setting `ignored_rubric_keys`.
    """

    def __init__(self, lines: Iterable[bytes], ignored: Set[str] = frozenset()) -> None:
        self._lines = lines
        self._context = {IGNORED_KEYS: ignored}
        self._line_of: dict[str, int] = {}
        self.moved: dict[str, None] = {}

    @property
    def ids(self) -> list[str]:
        return list(self._line_of)

    def __iter__(self) -> Iterator[RolloutRow | BadLine]:
        rows = enumerate(json_rows(self._lines), start=1)
        filled = ((line, raw) for line, raw in rows if raw.strip())
        for position, (line, raw) in enumerate(filled):
            yield self._read(line, position, raw.removeprefix(b"\xef\xbb\xbf"))  # UTF-8's BOM

    def _read(self, line: int, position: int, raw: bytes) -> RolloutRow | BadLine:
        numbered = parse_line(line, raw)
        if numbered.row is None:
            return BadLine(line, numbered.problem)
        row = dict(numbered.row)
        unknown = [name for name in row if name not in Rollout.model_fields]
        aside = {name: row.pop(name) for name in unknown}
        for column in aside:
            if field := _guess_field(column, row):
                return BadLine(line, f"column {column!r} is unknown; did you mean {field!r}?")
        metadata = row.get("metadata") or {}
        if aside and isinstance(metadata, dict):
            row["metadata"] = {**aside, **metadata}
        self.moved.update(dict.fromkeys(aside))
        try:
            read = RolloutRow(line, position, Rollout.model_validate(row, context=self._context))
        except ValidationError as error:
            problems = (f"{each.loc}: {each.message}" for each in to_details(error, root="row"))
            return BadLine(line, "; ".join(problems))
        earlier = self._line_of.setdefault(read.id, line)
        if earlier != line:
            return BadLine(line, f"id {read.id!r} is that of line {earlier} already")
        return read


def json_rows(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The rows of JSON lines, or of a file with one object over many lines."""
    rest = iter(lines)
    for line in rest:
        if line.strip() != b"{":  # no row in one line is a brace alone
            yield line
            continue
        parts = [line, *rest]
        whole = b"".join(parts)
        try:
            from_json(whole)
        except ValueError:
            yield from parts
        else:
            yield whole


def _guess_field(column: str, row: dict[str, Any]) -> str | None:
    """The absent field of which a column is probably a misspelling."""

    def bare(name: str) -> str:
        return name.casefold().replace("_", "").replace("-", "").replace(" ", "")

    absent = {bare(field): field for field in Rollout.model_fields if field not in row}
    near = difflib.get_close_matches(bare(column), list(absent), n=1, cutoff=_NEAR)
    return absent[near[0]] if near else None


def is_answer(raw: bytes) -> bool:
    """Whether a row looks like a form that `read_answer` takes."""
    try:
        row = from_json(raw)
    except ValueError:
        return False
    if any(_has(row, form) for form in (_RESULT, _STREAM_LINE, _EXPORTED)):
        return True
    items = row["items"] if _has(row, {"items"}) else None
    return isinstance(items, list) and all(_has(item, _RESULT) for item in items)


def _has(row: object, names: set[str]) -> bool:
    return isinstance(row, dict) and row.keys() >= names


def read_answer(raw: bytes) -> tuple[list[ScoreResult | StreamLine], Rollout | None]:
    """The results of a row, or the error of a stream line; and the rollout, if the row has it.

        a result                          a line of `citemark score`, or `/v1/score` for one rollout
        {"items": [result, …]}            `/v1/score` for a batch
        {"line": …, "type": …, …}         a line of `/v1/score/stream`, a result or an error
        {"rollout": …, "result": …, …}    a line of `citemark export`

    Raises `ValueError` for any other row.
    """
    row = from_json(raw)
    if _has(row, {"items"}):
        return [*map(restore_terms, ScoreResponse.model_validate(row).items)], None
    if _has(row, _EXPORTED):
        rollout = Rollout.model_validate(row["rollout"])
        return [restore_terms(ScoreResult.model_validate(row["result"]))], rollout
    if _has(row, _STREAM_LINE):
        line = StreamLine.model_validate(row)
        return [line if line.result is None else restore_terms(line.result)], None
    return [restore_terms(ScoreResult.model_validate(row))], None
