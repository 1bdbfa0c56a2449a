"""Where results go: standard output, or a file that a later run can complete.

A file always holds whole lines: a run first drops what an interrupted one left behind (a cut
last line, results without a reward), atomically, and then only appends. Of an earlier run's
results those stand that are of the same rollouts, made in the same way.
"""

import functools
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import ValidationError

from citemark_schemas import Knobs, ScoreResult, Versions
from citemark_service.errors import DataError

_OPENING = b'{"id":'


class Made(NamedTuple):
    """What a result was made of, or will be as far as that is known."""

    rollout_hash: str
    facts: Mapping[str, object]
    """Knobs, judge and versions, by what they are called on the command line."""


@functools.lru_cache(maxsize=64)  # nearly all results of a file share them
def facts_of(knobs: Knobs, model: str, versions: Versions) -> Mapping[str, object]:
    """Everything that must be equal for two rewards of one rollout to be comparable."""
    return {
        **knobs.model_dump(),
        "judge model": model,
        "service version": versions.service,
        "scoring version": versions.scoring,
        "prompts version": versions.prompts,
        "static rubrics version": versions.static_rubrics,
    }


def find_difference(kept: Made, expected: Made) -> str | None:
    """How a kept result differs from the one expected; None where it stands.

    Only what `expected` has is compared: of a distant service not everything is known.
    """
    if kept.rollout_hash != expected.rollout_hash:
        fields = "question, sources, response, finish_reason or criteria"
        return f"for another rollout ({fields} changed)"
    changed = [name for name, value in expected.facts.items() if kept.facts[name] != value]
    if not changed:
        return None
    was = ", ".join(f"{name} {kept.facts[name]}" for name in changed)
    now = ", ".join(str(expected.facts[name]) for name in changed)
    return f"under {was}, this run has {now}"


class StreamResults:
    """Results on a stream, as they finish; nothing of an earlier run is known."""

    name = "standard output"

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.kept: dict[str, Made] = {}
        """By id, what an earlier run has scored."""

    def write(self, result: ScoreResult) -> None:
        """Write one line and hand it to the operating system."""
        self._stream.write(result.model_dump_json().encode() + b"\n")
        self._stream.flush()

    def settle(self, order: Sequence[str]) -> None:
        """The run is complete; `order` is that of the input's ids."""

    def close(self) -> None:
        """Release what was opened for it, complete or not."""


class FileResults(StreamResults):
    """Results in a file that is resumed. Raises `DataError` or `OSError` when it is opened."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # a symbolic link stays one: its target is replaced
        self.name = path.name
        self.kept = {}
        self._spans: dict[str, tuple[int, int]] = {}
        """Offset and size of each result's line, by id."""
        if self._path.exists():
            self._replace(self._read_finished())
        self._stream = self._path.open("ab")
        self._end = self._stream.tell()

    def write(self, result: ScoreResult) -> None:
        super().write(result)
        self._add_span(result.id, self._stream.tell() - self._end)

    def settle(self, order: Sequence[str]) -> None:
        """Put the results into the input's order, those of other inputs first, and close."""
        self.close()
        ranks = {name: rank for rank, name in enumerate(order)}
        spans = sorted(self._spans.items(), key=lambda item: ranks.get(item[0], -1))
        # A result that was scored again leaves its old line in the file until here.
        replaced_some = sum(size for _, size in self._spans.values()) != self._end
        if replaced_some or spans != list(self._spans.items()):
            with self._path.open("rb") as source:
                self._replace((name, _read_span(source, *span)) for name, span in spans)

    def close(self) -> None:
        """Close the file; a later run can complete it."""
        self._stream.close()

    def _read_finished(self) -> Iterator[tuple[str, bytes]]:
        with self._path.open("rb") as source:
            for number, raw in enumerate(source, start=1):
                result = self._parse(number, raw)
                if result is not None and result.reward is not None:
                    facts = facts_of(result.knobs, result.judge.model, result.versions)
                    self.kept[result.id] = Made(result.rollout_hash, facts)
                    yield result.id, raw.rstrip(b"\r\n") + b"\n"

    def _parse(self, number: int, raw: bytes) -> ScoreResult | None:
        """One line's result; None where it is blank or was cut short by an interruption."""
        if not raw.strip():
            return None
        try:
            return ScoreResult.model_validate_json(raw)
        except ValidationError as error:
            if not raw.endswith(b"\n") and raw[: len(_OPENING)] == _OPENING[: len(raw)]:
                return None
            raise DataError(
                f"{self._path}, line {number}: is no result of this version; "
                "move the file away or name another output"
            ) from error

    def _replace(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Swap in a file of these lines; whatever happens, the old one or the new one is there."""
        self._spans, self._end = {}, 0
        folder, prefix = self._path.parent, f".{self._path.name}."
        with tempfile.NamedTemporaryFile(dir=folder, prefix=prefix, delete=False) as fresh:
            scratch = Path(fresh.name)
            try:
                for name, line in lines:
                    fresh.write(line)
                    self._add_span(name, len(line))
                fresh.flush()
                os.fsync(fresh.fileno())
                scratch.chmod(self._path.stat().st_mode)
                scratch.replace(self._path)
            finally:
                scratch.unlink(missing_ok=True)

    def _add_span(self, name: str, size: int) -> None:
        self._spans.pop(name, None)
        self._spans[name] = (self._end, size)
        self._end += size


def _read_span(source: IO[bytes], offset: int, size: int) -> bytes:
    source.seek(offset)
    return source.read(size)
