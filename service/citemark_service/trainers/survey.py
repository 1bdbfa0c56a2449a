"""A whole data set looked through: equal faults of many rows are one finding."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as made
from typing import Final

from citemark_schemas import Rollout
from citemark_service.trainers.checks import Limits, checked
from citemark_service.trainers.column_types import ColumnTypes
from citemark_service.trainers.faults import Fault, Severity, error, warning
from citemark_service.trainers.files import Numbered
from citemark_service.trainers.trainer import Row, Trainer

_SHOWN: Final = 3
_MOST_FINDINGS: Final = 200
_MOST_IDS: Final = 1_000_000  # about 130 MB; a repetition beyond them goes unseen
_LONGEST_ID: Final = 60
_INDEX: Final = re.compile(r"\[\d+\]")
_Key = tuple[Severity, str, str, str]


@dataclass
class Finding:
    """One fault and the rows that have it."""

    severity: Severity
    field: str
    problem: str
    fix: str
    count: int = 0
    examples: list[str] = made(default_factory=list)
    """The first rows, each with what is particular to it."""

    def add(self, place: str, detail: str) -> None:
        """Count one more row."""
        self.count += 1
        if len(self.examples) < _SHOWN:
            self.examples.append(f"{place} ({detail})" if detail else place)


@dataclass(frozen=True, slots=True)
class Sound:
    """A row that is fit for a round trip."""

    place: str
    row: Row
    rollout: Rollout


class Survey:
    """Looks at rows one by one; what it keeps does not grow with them, save a digest of each id."""

    def __init__(self, trainer: Trainer, limits: Limits, *, typed: bool) -> None:
        self._trainer = trainer
        self._limits = limits
        self._types = ColumnTypes() if trainer.one_type and not typed else None
        self._findings: dict[_Key, Finding] = {}
        self._ids: dict[int, int] = {}
        self.rows = 0
        self.sound: Sound | None = None
        """The first row without an error, and with sources if there is one."""

    @property
    def findings(self) -> list[Finding]:
        """Errors first, and then what most rows have."""
        worst = {Severity.ERROR: 0, Severity.WARNING: 1}
        return sorted(self._findings.values(), key=lambda f: (worst[f.severity], -f.count))

    def note(self, place: str, faults: Iterable[Fault]) -> bool:
        """Count the faults of one row; whether one of them is an error."""
        failed = False
        for fault in faults:
            failed |= fault.severity is Severity.ERROR
            where = _INDEX.sub("[…]", fault.field)
            key = (fault.severity, where, fault.problem, fault.fix)
            if key in self._findings or len(self._findings) < _MOST_FINDINGS:
                finding = self._findings.setdefault(key, Finding(*key))
                finding.add(place, _particular(fault, where))
        return failed

    def take(self, numbered: Numbered) -> None:
        """Look at one row."""
        self.rows += 1
        if numbered.row is None:
            told = error("row", numbered.problem, "repair the file, or leave the row out")
            self.note(numbered.place, [told])
            return
        found = checked(numbered.row, self._trainer, self._limits)
        faults = list(found.faults)
        if self._types is not None:
            faults += self._types.faults(numbered.row)
        if found.rollout is not None:
            faults += self._repeated(numbered, found.rollout)
        failed = self.note(numbered.place, faults)
        if found.rollout is not None and not failed:
            self._keep(Sound(numbered.place, numbered.row, found.rollout))

    def _repeated(self, numbered: Numbered, rollout: Rollout) -> Iterator[Fault]:
        if rollout.id is None:
            return
        digest = hashlib.blake2b(rollout.id.encode(), digest_size=8).digest()
        key = int.from_bytes(digest)
        first = self._ids.get(key)
        if first is not None:
            fix = "give each row an id of its own: results are told apart by it"
            told = f"{rollout.id[:_LONGEST_ID]!r}, that of {numbered.unit} {first}"
            yield warning("id", "several rows have one id", fix, told)
        elif len(self._ids) < _MOST_IDS:
            self._ids[key] = numbered.number

    def _keep(self, sound: Sound) -> None:
        had = self.sound is not None and _has_sources(self.sound)
        if self.sound is None or (not had and _has_sources(sound)):
            self.sound = sound


def _particular(fault: Fault, where: str) -> str:
    parts = [fault.field if fault.field != where else "", fault.detail]
    return ", ".join(filter(None, parts))


def _has_sources(sound: Sound) -> bool:
    return bool(sound.rollout.tool_output or sound.rollout.snippets)
