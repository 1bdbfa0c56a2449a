"""Cutting NDJSON into lines, whatever the chunks are."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from citemark_service.web.routes.stream import LineCutter, NumberedLine


def cut(chunks: list[bytes], limit: int) -> list[NumberedLine]:
    cutter = LineCutter(limit)
    lines = [line for chunk in chunks for line in cutter.feed(chunk)]
    return lines + list(cutter.end())


def expected(text: bytes, limit: int) -> list[NumberedLine]:
    return [
        (number, line if len(line) <= limit else None)
        for number, line in enumerate(text.split(b"\n"), start=1)
        if len(line) > limit or line.strip()
    ]


_TEXT = st.lists(st.sampled_from([b"a", b"bb", b" ", b"\n", b"\r\n", b"{}", b"cccc"])).map(b"".join)


@given(text=_TEXT, cuts=st.lists(st.integers(0, 60)), limit=st.integers(1, 8))
def test_chunks_do_not_matter(text: bytes, cuts: list[int], limit: int) -> None:
    edges = [0, *sorted(edge for edge in cuts if edge <= len(text)), len(text)]
    chunks = [text[start:end] for start, end in itertools.pairwise(edges)]
    assert cut(chunks, limit) == cut([text], limit) == expected(text, limit)


def test_blank_lines_count_and_are_skipped() -> None:
    assert cut([b"\n \r\n{}\n\n{}"], 10) == [(3, b"{}"), (5, b"{}")]


def test_an_overlong_line_is_dropped_and_the_rest_goes_on() -> None:
    chunks = [b"x" * 100] * 1000 + [b"\n{}\n"]
    assert cut(chunks, 50) == [(1, None), (2, b"{}")]
