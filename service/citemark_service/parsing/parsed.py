"""The parser's results, shared by parser, judges and scoring."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal, TypeAlias

from citemark_schemas import ReadStyle, RefusalKind, Span
from citemark_service.parsing.fingerprint import fingerprint

Unread: TypeAlias = ReadStyle | Literal["other", "link"]
"""What was not read: a notation that could be, one that cannot, links to no source."""


@dataclass(frozen=True)
class SourceSnippet:
    id: str
    text: str
    paper_id: str | None = None
    url: str = ""

    @cached_property
    def digest(self) -> bytes:
        return fingerprint(self.text)


@dataclass(frozen=True)
class Sources:
    """V: the sources by id, in order of appearance.

    Samples of a group may share one object, so that sources are hashed once.
    """

    by_id: Mapping[str, SourceSnippet]
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of a source, by which numbered citations find it: its place in a list whose items
    have no number, and its address in `normal_url` form."""
    repeated: frozenset[str] = frozenset()
    """Ids that stand for several texts."""
    listed: Mapping[str, str] = field(default_factory=dict)
    """Sources by the names that an answer's own list of references gives them; these come first."""

    @cached_property
    def numbered(self) -> bool:
        """Whether a number or an address can name a source."""
        names = (*self.listed, *self.by_id)
        return bool(self.aliases) or any(name.isdecimal() for name in names)

    @cached_property
    def addressed(self) -> bool:
        """Whether an address can name a source."""
        return any(not name.isdecimal() for name in self.aliases)

    @cached_property
    def digest(self) -> bytes:
        return fingerprint(*(part for s in self.by_id.values() for part in (s.id, s.text)))


NO_SOURCES: Final = Sources({})


@dataclass(frozen=True, slots=True)
class Claim:
    """A distinct claim of the answer; claims with equal texts are merged."""

    text: str
    """Text between the tags, without nested claims, white space folded."""
    ids: tuple[str, ...]
    """The ids of all occurrences, in order of first appearance."""
    span: Span
    """Half-open character range in the response, tags included, of the first well-formed
    occurrence, or of the first where all are malformed."""
    malformed: str | None = None
    """`nested`, `unclosed`, `empty`, `no_id` or `junk_attribute` where every occurrence is
    malformed; such a claim is never judged."""
    occurrences: int = 1


@dataclass(frozen=True, slots=True)
class Sentence:
    """A distinct sentence outside the claim tags that may state a fact."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Mark:
    """A stretch of the response that is notation and no text of the answer; it may be empty."""

    start: int
    end: int
    opens: bool = False
    """Whether a claim begins here."""
    closes: bool = False
    ids: tuple[str, ...] = ()
    """What a claim that begins here cites."""


@dataclass(frozen=True, slots=True)
class Reading:
    """An answer block in one notation; see `Answer` for fields of the same name."""

    claims: tuple[Claim, ...]
    sentences: tuple[Sentence, ...]
    malformed_tags: int
    stray_tags: int
    prose: str
    marks: tuple[Mark, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer block; where there is not exactly one, `refusal` is set and all else is empty."""

    refusal: RefusalKind | None = None
    text: str = ""
    """Raw text between the answer tags."""
    prose: str = ""
    """`text` without notation: each claim tag is a line break, each numbered marker is gone."""
    span: Span = (0, 0)
    """Half-open range of `text` in the response."""
    claims: tuple[Claim, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    malformed_tags: int = 0
    """Number of malformed claims before merging."""
    stray_tags: int = 0
    """Number of closing claim tags that close nothing, or of markers that follow nothing."""
    style: ReadStyle = "snippet"
    """The notation that was read."""
    marks: tuple[Mark, ...] = ()
    """The notation's own text, in order."""
    unread: Mapping[Unread, int] = field(default_factory=dict)
    """Citations in the notations that were not read, above 0."""
    judge_addressed: tuple[str, ...] = field(default=())
    """Excerpts that address a grader, for review."""
