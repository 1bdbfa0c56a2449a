"""What the parser makes of a rollout: values only, shared by parser, judges and arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from citemark_schemas import RefusalKind, Span
from citemark_service.parsing.fingerprint import fingerprint


@dataclass(frozen=True)
class SourceSnippet:
    """One source that the raw tool output defines."""

    id: str
    text: str
    paper_id: str | None = None

    @cached_property
    def digest(self) -> bytes:
        """Equal for equal texts only; hashed once, however many rollouts cite it."""
        return fingerprint(self.text)


@dataclass(frozen=True)
class Sources:
    """V: the ids defined in the tool output, first definition wins, in order of appearance.

    The samples of a group may share one such object, which then is hashed once for them all.
    """

    by_id: Mapping[str, SourceSnippet]

    @cached_property
    def digest(self) -> bytes:
        """Equal for equal ids and texts in equal order only."""
        return fingerprint(*(part for s in self.by_id.values() for part in (s.id, s.text)))


@dataclass(frozen=True, slots=True)
class Claim:
    """One distinct claim of the answer: equal texts merged, ids united.

    `ids` keeps every id that any occurrence wrote, in order of first appearance.
    """

    text: str
    """What stands between the tags, without claims nested in it, white space folded."""
    ids: tuple[str, ...]
    span: Span
    """Half-open range, in characters of the response, of the whole tag of the first occurrence
    that is well-formed, or else of the first."""
    malformed: str | None = None
    """`nested`, `unclosed`, `empty`, `no_id` or `junk_attribute`, where every occurrence is
    malformed; then it is never judged."""
    occurrences: int = 1


@dataclass(frozen=True, slots=True)
class Sentence:
    """One distinct piece of answer text outside the claim tags that may state a fact."""

    text: str
    span: Span


@dataclass(frozen=True, slots=True)
class Answer:
    """The single answer block. `refusal` is set, and all else empty, where there is not one."""

    refusal: RefusalKind | None = None
    text: str = ""
    """Raw text between the answer tags."""
    prose: str = ""
    """`text` with a line break in place of each opening and closing claim tag; what stands between
    them stays."""
    span: Span = (0, 0)
    """Half-open range of `text` in the response."""
    claims: tuple[Claim, ...] = ()
    sentences: tuple[Sentence, ...] = ()
    malformed_tags: int = 0
    """Claims with a malformed tag, counted before equal ones are merged."""
    stray_tags: int = 0
    """Closing claim tags that close nothing."""
    judge_addressed: tuple[str, ...] = field(default=())
    """Pieces that talk to a grader, for review."""
