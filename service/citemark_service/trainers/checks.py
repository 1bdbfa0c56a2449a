"""Checks a data set for faults that would break or weaken training with one trainer. Pure."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as made
from typing import Any, Final

from pydantic_core import to_json

from citemark_rubrics import RubricLibrary
from citemark_schemas import Criterion, EnvelopeError, Knobs, Polarity, Rollout
from citemark_service.errors import InvalidRequest
from citemark_service.judges.language.render import PromptWriter
from citemark_service.judges.language.texts import size
from citemark_service.parsing.sources import read_sources
from citemark_service.row_files import Numbered
from citemark_service.score.criteria import check_rollout
from citemark_service.settings import Settings
from citemark_service.trainers.faults import Fault, Severity, error, prompt_faults, warning
from citemark_service.trainers.rows import Row, messages_of
from citemark_service.trainers.table import rollout_anywhere
from citemark_service.trainers.trainer import Trainer

_SHOWN: Final = 3  # examples of a finding
_MOST_FINDINGS: Final = 200
_MOST_IDS: Final = 1_000_000  # about 130 MB; ids of later rows are not compared with one another
_MOST_PATHS: Final = 2000  # bounds the memory for a column of objects with arbitrary keys
_DEEPEST: Final = 6
_LONGEST_ID: Final = 60
_INDEX: Final = re.compile(r"\[\d+\]")
_TYPES: Final = (
    (bool, "true or false"),
    (int | float, "a number"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
)


@dataclass
class RowFinding:
    """A fault with the number of rows that have it."""

    severity: Severity
    field: str
    problem: str
    fix: str
    count: int = 0
    examples: list[str] = made(default_factory=list)
    """The first 3 rows, each with its `Fault.detail`."""


@dataclass(frozen=True, slots=True)
class SoundRow:
    place: str
    row: Row
    rollout: Rollout


class DatasetCheck:
    """Checks rows one by one in bounded memory; `typed` files declare the types of columns."""

    def __init__(
        self, trainer: Trainer, settings: Settings, library: RubricLibrary, *, typed: bool
    ) -> None:
        self._trainer = trainer
        self._settings = settings
        self._library = library
        self._room = PromptWriter(secret=b"").budget
        self._one_type = trainer.one_type and not typed
        self._types: dict[str, str] = {}
        self._findings: dict[tuple[Severity, str, str, str], RowFinding] = {}
        self._ids: dict[bytes, str] = {}
        self.rows = 0
        self.sound: SoundRow | None = None
        """The first row without errors, preferably one with sources."""

    @property
    def findings(self) -> list[RowFinding]:
        """Errors first, then by descending count."""
        return sorted(
            self._findings.values(),
            key=lambda each: (each.severity is Severity.WARNING, -each.count),
        )

    def note(self, place: str, faults: Iterable[Fault]) -> bool:
        """Count the faults of one row, or of the file; return whether one of them is an error."""
        failed = False
        for fault in faults:
            failed |= fault.severity is Severity.ERROR
            # Without indices, so that one fault in different list items is one finding.
            path = _INDEX.sub("[…]", fault.field)
            key = (fault.severity, path, fault.problem, fault.fix)
            if key not in self._findings and len(self._findings) >= _MOST_FINDINGS:
                continue
            finding = self._findings.setdefault(key, RowFinding(*key))
            finding.count += 1
            if len(finding.examples) < _SHOWN:
                parts = (fault.field if fault.field != path else "", fault.detail)
                particular = ", ".join(filter(None, parts))
                finding.examples.append(f"{place} ({particular})" if particular else place)
        return failed

    def check(self, numbered: Numbered) -> None:
        self.rows += 1
        row, trainer = numbered.row, self._trainer
        if row is None:
            fix = "repair the file, or leave the row out"
            self.note(numbered.place, [error("row", numbered.problem, fix)])
            return
        prompt, at = trainer.prompt(row), trainer.prompt_at[0]
        faults = [*prompt_faults(prompt, at, text_too=trainer.text_prompt), *trainer.faults(row)]
        rollout: Rollout | None = None
        try:
            rollout = trainer.read_rollout(row, self._settings.ignored_rubric_keys)
        except EnvelopeError as failure:
            fix = f"the envelope belongs into {trainer.carries}"
            unread = [error(each.loc, each.message, fix) for each in failure.details]
            faults += list(self._misplaced_rubrics(row)) or unread
        else:
            faults += self._rollout_faults(rollout, row)
        if self._one_type:
            faults += self._type_faults(row)
        if rollout is not None:
            faults += self._repetitions(numbered, rollout)
        if self.note(numbered.place, faults) or rollout is None:
            return
        if self.sound is None or (not _has_sources(self.sound.rollout) and _has_sources(rollout)):
            self.sound = SoundRow(numbered.place, row, rollout)

    def _rollout_faults(self, rollout: Rollout, row: Row) -> Iterator[Fault]:
        """Faults that can be found before the policy answers."""
        trainer, room, limit = self._trainer, self._room, self._settings.max_rollout_bytes
        misplaced = [] if rollout.criteria else list(self._misplaced_rubrics(row))
        yield from misplaced or _criterion_faults(rollout.criteria)
        style = Knobs.resolve(self._settings, rollout).citation_style
        sources = read_sources(rollout.tool_output, rollout.snippets, style).by_id.values()
        if not sources:
            place = "tool_output" if rollout.snippets is None else "snippets"
            fix = "write each result as <snippet id=ID>…</snippet>, or give snippets"
            if read_sources(rollout.tool_output, None).by_id:
                fix = f"citation_style {style} reads <snippet id=ID> only; auto reads these sources"
            yield warning(place, "defines no source id: every citation will count as made up", fix)
        try:
            # `finish_reason` is not known before the policy answers, and not a fault of the row.
            stopped = rollout.model_copy(update={"finish_reason": "stop"})
            check_rollout(stopped, Knobs.resolve(self._settings, rollout), self._library)
        except InvalidRequest as refusal:
            for each in refusal.details:
                yield error(each.loc, each.message, "the service would refuse the row")
        sent = len(to_json(rollout))
        if trainer.sends_prompt:
            sent += len(to_json(messages_of(trainer.prompt(row)), fallback=str))
        if sent > limit:
            problem = "is larger than the service takes, without any response"
            fix = "raise CITEMARK_MAX_ROLLOUT_BYTES, or shorten the tool output"
            yield error("row", problem, fix, f"{sent} bytes of {limit}")
        criteria = sum(size(each.title) + size(each.description) for each in rollout.criteria)
        fewer = "of each source the judge sees the parts nearest to the question; fewer are better"
        for place, length, most, fix in (
            ("question", size(rollout.question), room.question, "shorten it"),
            ("tool_output", sum(size(each.text) for each in sources), room.sources, fewer),
            ("rubrics", criteria, room.items, "fewer or shorter criteria"),
        ):
            if length > most:
                problem = "is longer than the judge's prompt has room for"
                yield warning(place, problem, fix, f"{length} bytes of {most}")

    def _type_faults(self, row: Row) -> Iterator[Fault]:
        """A fault for each place whose type differs from that in an earlier row."""
        for path, kind in _types_in(row, "", 0):
            known = self._types.get(path)
            if known is None and len(self._types) < _MOST_PATHS:
                self._types[path] = kind
            elif known is not None and known != kind:
                first, second = sorted((known, kind))
                yield error(
                    path,
                    f"is {first} in one row and {second} in another; the loader takes one type",
                    "citemark convert writes one",
                )

    def _repetitions(self, numbered: Numbered, rollout: Rollout) -> Iterator[Fault]:
        if rollout.id is None:
            return
        # 8 bytes instead of the id bound the memory; a collision would only warn in vain.
        digest = hashlib.blake2b(rollout.id.encode(), digest_size=8).digest()
        first = self._ids.get(digest)
        if first is not None:
            fix = "give each row an id of its own: citemark score refuses the second"
            detail = f"{rollout.id[:_LONGEST_ID]!r}, that of {first}"
            yield warning("id", "several rows have one id", fix, detail)
        elif len(self._ids) < _MOST_IDS:
            self._ids[digest] = numbered.place

    def _misplaced_rubrics(self, row: Row) -> Iterator[Fault]:
        """A fault where the row has rubrics at a place that this trainer does not send."""
        trainer = self._trainer
        try:
            elsewhere = rollout_anywhere(row, self._settings.ignored_rubric_keys)
        except EnvelopeError:
            return
        if elsewhere.criteria:
            fix = f"citemark convert --to {trainer.name} puts them into {trainer.carries}"
            yield error("rubrics", f"stand where {trainer.title} sends nothing from", fix)


def _has_sources(rollout: Rollout) -> bool:
    return bool(rollout.tool_output or rollout.snippets)


def _criterion_faults(criteria: Sequence[Criterion]) -> Iterator[Fault]:
    if any(each.weight and each.polarity is Polarity.POSITIVE for each in criteria):
        return
    problem = "no positive criterion: an empty claim earns the negative criteria's share"
    if not criteria:
        problem = "no rubric of its own: the static set alone is judged"
    yield warning("positive_rubrics", problem, "say what a good answer states")


def _types_in(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    """Dotted path and type of everything in a value, down to depth `_DEEPEST`."""
    items: list[tuple[str, Any]] = []
    if depth <= _DEEPEST and isinstance(value, dict):
        items = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif depth <= _DEEPEST and isinstance(value, list):
        items = [(f"{path}[…]", item) for item in value]
    for place, item in items:
        kind = next((name for type_, name in _TYPES if isinstance(item, type_)), None)
        if kind is not None:
            yield place, kind
            yield from _types_in(item, place, depth + 1)
