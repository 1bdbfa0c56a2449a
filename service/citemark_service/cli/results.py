"""Where results go: standard output, or a file that a later run can complete."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pydantic import ValidationError

from citemark_schemas import Knobs, ScoreResult, Versions
from citemark_service.errors import DataError
from citemark_service.trainers.files import replace_file

_OPENING = b'{"id":'


class Made(NamedTuple):
    """What a result was made of, or will be as far as that is known."""

    rollout_hash: str
    facts: Mapping[str, object]  # see `facts_of`


@functools.lru_cache(maxsize=64)  # nearly all results of a file share them
def facts_of(knobs: Knobs, model: str, versions: Versions) -> Mapping[str, object]:
    """What must be equal for rewards of one rollout to be comparable; keys are for messages."""
    return {
        **knobs.model_dump(),
        "judge model": model,
        "service version": versions.service,
        "scoring version": versions.scoring,
        "prompts version": versions.prompts,
        "static rubrics version": versions.static_rubrics,
    }


def find_difference(kept: Made, expected: Made) -> str | None:
    """How a kept result differs from the one expected; None if it can stay."""
    if kept.rollout_hash != expected.rollout_hash:
        fields = "question, sources, response, finish_reason or criteria"
        return f"for another rollout ({fields} changed)"
    # `expected` has less of a remote service, which does not publish all.
    changed = [name for name, value in expected.facts.items() if kept.facts[name] != value]
    if not changed:
        return None
    was = ", ".join(f"{name} {kept.facts[name]}" for name in changed)
    now = ", ".join(str(expected.facts[name]) for name in changed)
    return f"under {was}, this run has {now}"


class StreamResults:
    """Results on a stream, in the order in which they finish."""

    name = "standard output"

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.kept: dict[str, Made] = {}  # results of an earlier run, by id

    def write(self, result: ScoreResult) -> None:
        self._stream.write(result.model_dump_json().encode() + b"\n")
        self._stream.flush()

    def settle(self, order: Sequence[str]) -> None:
        """Called when a run is complete, with the input's ids in order."""

    def close(self) -> None:
        """Called after every run, complete or not."""


class FileResults(StreamResults):
    """Results in a file, which is completed if it exists. Raises `DataError` or `OSError`.

    The file has whole lines at all times: a run first drops a cut last line and results without a
    reward, atomically, and then only appends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # a symbolic link stays one: its target is replaced
        self.name = path.name
        self.kept = {}
        self._spans: dict[str, tuple[int, int]] = {}  # offset and size of each line, by id
        if self._path.exists():
            self._replace(self._read_finished())
        self._stream = self._path.open("ab")
        self._end = self._stream.tell()

    def write(self, result: ScoreResult) -> None:
        super().write(result)
        self._add_span(result.id, self._stream.tell() - self._end)

    def settle(self, order: Sequence[str]) -> None:
        """Close, and sort the file by the input's order, with results of other inputs first."""
        self.close()
        ranks = {name: rank for rank, name in enumerate(order)}
        spans = sorted(self._spans.items(), key=lambda item: ranks.get(item[0], -1))
        # The old line of a result that was scored again is still in the file.
        replaced_some = sum(size for _, size in self._spans.values()) != self._end
        if replaced_some or spans != list(self._spans.items()):
            with self._path.open("rb") as source:
                self._replace((name, _read_span(source, *span)) for name, span in spans)

    def close(self) -> None:
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
        if not raw.strip():
            return None
        try:
            return ScoreResult.model_validate_json(raw)
        except ValidationError as error:
            # Cut short by an interruption. Any other text is not ours to drop.
            if not raw.endswith(b"\n") and raw[: len(_OPENING)] == _OPENING[: len(raw)]:
                return None
            raise DataError(
                f"{self._path}, line {number}: is no result of this version; "
                "move the file away or name another output"
            ) from error

    def _replace(self, lines: Iterable[tuple[str, bytes]]) -> None:
        """Replace the file atomically by one of these lines."""
        self._spans, self._end = {}, 0
        with replace_file(self._path) as fresh:
            for name, line in lines:
                fresh.write(line)
                self._add_span(name, len(line))

    def _add_span(self, name: str, size: int) -> None:
        self._spans.pop(name, None)  # so that the order of keys is that of lines
        self._spans[name] = (self._end, size)
        self._end += size


def _read_span(source: IO[bytes], offset: int, size: int) -> bytes:
    source.seek(offset)
    return source.read(size)
