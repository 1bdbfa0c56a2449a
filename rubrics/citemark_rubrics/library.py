"""Static rubric sets: TOML files, validated when they are loaded, with the line named.

A set is `name`, `description` and one `[[criteria]]` table per criterion with `title`,
`polarity`, optional `weight`, `looks_at`, and for each verdict (`zero`, `one`, `two`) what it
means and an example (`zero_example`, …).
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from citemark_schemas import Criterion, Polarity, Source

_HEADER = re.compile(r"^\s*\[\[\s*criteria\s*\]\]")
_NAME = r"^[a-z0-9][a-z0-9_-]*$"


class RubricError(ValueError):
    """A rubric set cannot be used; the message names the file, and the line where there is one."""


class UnknownSet(RubricError):
    """No set of that name is loaded; the message lists those that are."""


class _Entry(BaseModel):
    """One `[[criteria]]` table as written."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, str_min_length=1)

    title: str
    polarity: Polarity
    weight: float = Field(1.0, ge=0, allow_inf_nan=False)
    looks_at: str
    zero: str
    zero_example: str
    one: str
    one_example: str
    two: str
    two_example: str

    def criterion(self) -> Criterion:
        """The criterion as a judge reads it: what to look at, then the three verdicts."""
        verdicts = "\n".join(
            f"{digit}: {meaning} Example: {example}"
            for digit, meaning, example in (
                (0, self.zero, self.zero_example),
                (1, self.one, self.one_example),
                (2, self.two, self.two_example),
            )
        )
        return Criterion(
            title=self.title,
            description=f"{self.looks_at}\n{verdicts}",
            polarity=self.polarity,
            weight=self.weight,
            source=Source.STATIC,
        )


class _File(BaseModel):
    """A whole set as written."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True, str_min_length=1)

    name: str = Field(pattern=_NAME)
    description: str
    criteria: tuple[_Entry, ...]


@dataclass(frozen=True, slots=True)
class RubricSet:
    """A named set of static criteria."""

    name: str
    version: str
    """First 12 hex digits of the SHA-256 of the criteria; equal versions judge alike."""
    description: str
    criteria: tuple[Criterion, ...]


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """The 1-based line of a key in the n-th `[[criteria]]` table, or of the table, or 1."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    position = next((part for part in location if isinstance(part, int)), None)
    if position is None:
        first, last = 0, starts[0] if starts else len(lines)
    elif position < len(starts):
        first = starts[position]
        last = starts[position + 1] if position + 1 < len(starts) else len(lines)
    else:
        return 1
    key = re.compile(rf"^\s*{re.escape(str(location[-1]))}\s*=")
    return next((n for n in range(first, last) if key.match(lines[n])), first) + 1


def _place(location: tuple[int | str, ...], data: Mapping[str, Any]) -> str:
    """A location as a reader counts: `criterion 1 (“Its title”): two`."""
    if len(location) < 2 or location[0] != "criteria" or not isinstance(location[1], int):
        return ".".join(map(str, location))
    entry = data["criteria"][location[1]]
    title = entry.get("title") if isinstance(entry, dict) else None
    named = f" (“{title}”)" if isinstance(title, str) and title.strip() else ""
    return ": ".join([f"criterion {location[1] + 1}{named}", *map(str, location[2:])])


def _parse_file(text: str, origin: str) -> _File:
    try:
        data = tomllib.loads(text)
        return _File.model_validate(data)
    except tomllib.TOMLDecodeError as error:
        raise RubricError(f"{origin}: {error}") from error
    except ValidationError as error:
        problems = (
            f"line {_line_of(text, item['loc'])}: {_place(item['loc'], data)}: {item['msg']}"
            for item in error.errors()
        )
        raise RubricError("\n".join(f"{origin}, {problem}" for problem in problems)) from error


def _refuse_empty(entries: tuple[_Entry, ...], text: str, origin: str) -> None:
    """A least length on the field would be told beside whatever is wrong with its entries."""
    if not entries:
        line = _line_of(text, ("criteria",))
        raise RubricError(f"{origin}, line {line}: criteria: must hold at least one")


def _refuse_repeats(entries: tuple[_Entry, ...], text: str, origin: str) -> None:
    seen: dict[str, int] = {}
    for position, entry in enumerate(entries):
        line = _line_of(text, ("criteria", position, "title"))
        if entry.title.casefold() in seen:
            earlier = seen[entry.title.casefold()]
            raise RubricError(
                f"{origin}, line {line}: title {entry.title!r} repeats line {earlier}"
            )
        seen[entry.title.casefold()] = line


def _version(criteria: Iterable[Criterion]) -> str:
    digest = hashlib.sha256()
    for criterion in criteria:
        digest.update(criterion.model_dump_json().encode())
    return digest.hexdigest()[:12]


def parse_set(text: str, origin: str) -> RubricSet:
    """Read one set from TOML text; `origin` names it in messages.

    Raises:
        RubricError: not TOML, a key is missing, unknown or of the wrong type, a title repeats,
            or all weights are 0.
    """
    file = _parse_file(text, origin)
    _refuse_empty(file.criteria, text, origin)
    _refuse_repeats(file.criteria, text, origin)
    if not any(entry.weight for entry in file.criteria):
        raise RubricError(f"{origin}: all weights are 0, so the set can score nothing")
    criteria = tuple(entry.criterion() for entry in file.criteria)
    return RubricSet(file.name, _version(criteria), file.description, criteria)


def load_set(path: Path | Traversable) -> RubricSet:
    """Read one set from a TOML file.

    Raises:
        RubricError: it cannot be read, or as `parse_set`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RubricError(f"{path}: {error}") from error
    return parse_set(text, str(path) if isinstance(path, Path) else path.name)


def _files(folder: Path | Traversable) -> Iterator[Any]:
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".toml")]
    return iter(sorted(found, key=lambda entry: entry.name))


class RubricLibrary:
    """The static sets by name. Immutable once built."""

    def __init__(self, sets: Iterable[RubricSet]) -> None:
        self._sets: dict[str, RubricSet] = {}
        for rubric_set in sets:
            if rubric_set.name in self._sets:
                raise RubricError(f"two rubric sets are named {rubric_set.name!r}")
            self._sets[rubric_set.name] = rubric_set

    def names(self) -> tuple[str, ...]:
        """The names of all sets, sorted."""
        return tuple(sorted(self._sets))

    def sets(self) -> tuple[RubricSet, ...]:
        """All sets, sorted by name."""
        return tuple(self._sets[name] for name in self.names())

    def find(self, name: str) -> RubricSet:
        """The set of that name.

        Raises:
            UnknownSet: there is none.
        """
        try:
            return self._sets[name]
        except KeyError:
            known = ", ".join(self.names())
            raise UnknownSet(f"unknown static rubric set {name!r}; known: {known}") from None


def load_library(extra: Path | None = None) -> RubricLibrary:
    """The sets that ship with the package, and those in the folder `extra`.

    Raises:
        RubricError: a file is invalid, a name is taken twice, or `extra` is not a folder.
    """
    sets = [load_set(path) for path in _files(resources.files("citemark_rubrics") / "sets")]
    if extra is not None:
        if not extra.is_dir():
            raise RubricError(f"{extra}: is not a folder")
        sets += [load_set(path) for path in _files(extra)]
    return RubricLibrary(sets)
