"""Parses the claims of an answer with claim tags: pairs tags, names defects, merges equal claims.

Text belongs to the innermost claim around it only, so that time is linear for any nesting.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from citemark_schemas import Span
from citemark_service.parsing.lines import Line
from citemark_service.parsing.parsed import Claim, Mark, Reading
from citemark_service.parsing.tags import Tag
from citemark_service.parsing.units import split_units, to_sentences
from citemark_service.parsing.visible import fold_space, has_content, normal_form


@dataclass(frozen=True, slots=True)
class _TagPairs:
    """How tags belong together, by their indices."""

    closes: dict[int, int]
    """Closing tag by opening tag."""
    opens: dict[int, int]
    """Opening tag by closing tag."""
    parents: dict[int, int | None]
    """The opening tag that was open at an opening tag."""
    stray: int

    def around(self, index: int | None) -> int | None:
        """The claim around an opening tag; an unclosed claim contains nothing."""
        parent = None if index is None else self.parents[index]
        return parent if parent in self.closes else None

    def owner(self, index: int, tag: Tag) -> int | None:
        """The claim that the text after a tag belongs to."""
        return self.around(self.opens.get(index)) if tag.closing else index


def read_tagged(text: str, block: Span, lines: Sequence[Line], tags: Sequence[Tag]) -> Reading:
    """Parse `text[block]` with its claim tags; spans are positions in `text`. Never raises."""
    pairs = _pair_tags(tags)
    texts, outside = _assign_texts(text, block, tags, pairs)
    claims = list(_read_claims(tags, pairs, texts, block[1]))
    malformed = sum(claim.malformed is not None for claim in claims)
    starts = [block[0], *(tag.end for tag in tags)]
    ends = [*(tag.start for tag in tags), block[1]]
    return Reading(
        claims=merge_equal(claims),
        sentences=to_sentences(text, split_units(text, lines, outside)),
        malformed_tags=malformed,
        stray_tags=pairs.stray,
        prose="\n".join([text[start:end] for start, end in zip(starts, ends, strict=True)]),
        marks=tuple(
            Mark(tag.start, tag.end, opens=not tag.closing, closes=tag.closing, ids=tag.ids)
            for tag in tags
        ),
    )


def outside_tags(text: str, block: Span, tags: Sequence[Tag]) -> list[Span]:
    """The spans of `text[block]` outside all claims."""
    return _assign_texts(text, block, tags, _pair_tags(tags))[1]


def _pair_tags(tags: Sequence[Tag]) -> _TagPairs:
    pairs = _TagPairs({}, {}, {}, 0)
    stray, stack = 0, list[int]()
    for index, tag in enumerate(tags):
        if not tag.closing:
            pairs.parents[index] = stack[-1] if stack else None
            stack.append(index)
        elif stack:
            opening = stack.pop()
            pairs.closes[opening] = index
            pairs.opens[index] = opening
        else:
            stray += 1
    return replace(pairs, stray=stray)


def _assign_texts(
    text: str, block: Span, tags: Sequence[Tag], pairs: _TagPairs
) -> tuple[dict[int, list[str]], list[Span]]:
    """The pieces of text of each claim by opening tag, and the spans outside all claims."""
    texts: dict[int, list[str]] = {}
    outside = [(block[0], tags[0].start if tags else block[1])]
    for index, tag in enumerate(tags):
        end = tags[index + 1].start if index + 1 < len(tags) else block[1]
        owner = pairs.owner(index, tag)
        if owner is None:
            outside.append((tag.end, end))
        else:
            texts.setdefault(owner, []).append(text[tag.end : end])
    return texts, [span for span in outside if span[0] < span[1]]


def _read_claims(
    tags: Sequence[Tag], pairs: _TagPairs, texts: dict[int, list[str]], block_end: int
) -> Iterator[Claim]:
    nested = _find_nested(pairs)
    for index, tag in enumerate(tags):
        if tag.closing:
            continue
        text = fold_space(" ".join(texts[index]))
        following = tags[index + 1].start if index + 1 < len(tags) else block_end
        # An unclosed claim ends at the next tag, so that it cannot swallow the rest of the answer.
        end = tags[pairs.closes[index]].end if index in pairs.closes else following
        closed = index in pairs.closes and not tag.cut
        defect = "nested" if index in nested else _defect(tag, text, closed)
        yield Claim(text=text, ids=tag.ids, span=(tag.start, end), malformed=defect)


def _find_nested(pairs: _TagPairs) -> set[int]:
    """Closed claims that contain, or are contained in, another closed claim."""
    inner = {index: pairs.around(index) for index in pairs.closes}
    return {
        side for pair in inner.items() if pair[1] is not None for side in pair if side is not None
    }


def _defect(tag: Tag, text: str, closed: bool) -> str | None:
    if not closed:
        return "unclosed"
    if not has_content(text):
        return "empty"
    if not tag.ids:
        return "no_id"
    return "junk_attribute" if tag.junk else None


def merge_equal(claims: Sequence[Claim]) -> tuple[Claim, ...]:
    """Distinct claims, in order of first appearance."""
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(normal_form(claim.text), []).append(claim)
    return tuple(_unite(group) for group in groups.values())


def _unite(group: Sequence[Claim]) -> Claim:
    if len(group) == 1:
        return group[0]
    # Well-formed if any occurrence is; the others' ids are citations of it all the same.
    best = next((claim for claim in group if claim.malformed is None), group[0])
    ids = dict.fromkeys(written for claim in group for written in claim.ids)
    return replace(best, ids=tuple(ids), occurrences=len(group))
