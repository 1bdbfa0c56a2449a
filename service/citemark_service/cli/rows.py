"""Rollouts from JSON lines, one row at a time: what is wrong is said per line, never raised."""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from pydantic_core import from_json

from citemark_schemas import Rollout

_NEAR = 0.88  # "citation_wieght" is .93 from its field, "response_id" .84 from "response"


@dataclass(frozen=True, slots=True)
class Row:
    """A rollout that has an id, and its place in the file."""

    line: int
    position: int
    """0-based among the lines that are not blank."""
    rollout: Rollout

    @property
    def id(self) -> str:
        """The row's own id, else its position."""
        return str(self.position) if self.rollout.id is None else self.rollout.id


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line that holds no usable rollout."""

    line: int
    message: str


def _bare(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "").replace(" ", "")


def _misspelt(column: str, row: dict[str, Any]) -> str | None:
    """The absent field that a column is probably meant to be, None where it is just unknown."""
    absent = {_bare(field): field for field in Rollout.model_fields if field not in row}
    near = difflib.get_close_matches(_bare(column), list(absent), n=1, cutoff=_NEAR)
    return absent[near[0]] if near else None


def _place(loc: Iterable[int | str]) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc)
    return "".join(steps).removeprefix(".")


def _told(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(f"{_place(item['loc']) or 'row'}: {item['msg']}" for item in problems)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        # Unlike json, it refuses lone surrogates, which no result could be written with.
        row = from_json(raw)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    return row


def json_rows(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The rows of JSON lines, or the one row of a file that holds one object over many lines."""
    rest = iter(lines)
    for line in rest:
        if line.strip() != b"{":
            yield line
            continue
        parts = [line, *rest]
        whole = b"".join(parts)
        yield from [whole] if _is_json(whole) else parts


def _is_json(raw: bytes) -> bool:
    try:
        from_json(raw)
    except ValueError:
        return False
    return True


class RowReader:
    """Iterates once over JSON lines, giving a `Row` or a `BadLine` for each that is not blank.

    Columns that no rollout has are moved into its `metadata` and collected in `moved`; one that
    looks like a misspelt field makes its line bad, as does an id that an earlier line has.
    """

    def __init__(self, lines: Iterable[bytes]) -> None:
        self._lines = lines
        self._line_of: dict[str, int] = {}
        self.moved: dict[str, None] = {}

    @property
    def ids(self) -> list[str]:
        """The ids read so far, in the order of the file."""
        return list(self._line_of)

    def __iter__(self) -> Iterator[Row | BadLine]:
        rows = enumerate(json_rows(self._lines), start=1)
        filled = ((line, raw) for line, raw in rows if raw.strip())
        for position, (line, raw) in enumerate(filled):
            yield self._read(line, position, raw.removeprefix(b"\xef\xbb\xbf"))

    def _read(self, line: int, position: int, raw: bytes) -> Row | BadLine:
        try:
            row = Row(line, position, Rollout.model_validate(self._sorted(_object(raw))))
        except ValidationError as error:
            return BadLine(line, _told(error))
        except ValueError as error:
            return BadLine(line, str(error))
        earlier = self._line_of.setdefault(row.id, line)
        if earlier != line:
            return BadLine(line, f"id {row.id!r} is that of line {earlier} already")
        return row

    def _sorted(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row with its unknown columns under `metadata`."""
        known = {name: value for name, value in row.items() if name in Rollout.model_fields}
        aside = {name: value for name, value in row.items() if name not in known}
        for column in aside:
            field = _misspelt(column, row)
            if field is not None:
                raise ValueError(f"column {column!r} is unknown; did you mean {field!r}?")
        self.moved.update(dict.fromkeys(aside))
        metadata = known.get("metadata") or {}
        if aside and isinstance(metadata, dict):
            known["metadata"] = {**aside, **metadata}
        return known
