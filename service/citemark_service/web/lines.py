"""NDJSON input cut into numbered lines, with bounded memory. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Line:
    """One line that is not blank."""

    number: int
    """1-based; blank lines count."""
    text: bytes | None
    """Without its line break; None where it was longer than the limit and was dropped."""


class LineCutter:
    """Cuts chunks into lines and keeps at most `limit` bytes of an unfinished one."""

    def __init__(self, limit: int) -> None:
        self.number = 0
        """Lines finished so far."""
        self._limit = limit
        self._partial = bytearray()
        self._overlong = False

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """The lines that `chunk` finishes; the iterator must be exhausted."""
        *endings, rest = chunk.split(b"\n")
        for ending in endings:
            self._append(ending)
            yield from self._finish()
        self._append(rest)

    def end(self) -> Iterator[Line]:
        """The last line, where it has no line break."""
        if self._partial or self._overlong:
            yield from self._finish()

    def _append(self, piece: bytes) -> None:
        if self._overlong or len(self._partial) + len(piece) > self._limit:
            self._overlong = True
            self._partial.clear()
        else:
            self._partial += piece

    def _finish(self) -> Iterator[Line]:
        self.number += 1
        text, overlong = bytes(self._partial), self._overlong
        self._partial.clear()
        self._overlong = False
        if overlong:
            yield Line(self.number, None)
        elif not text.isspace() and text:
            yield Line(self.number, text)
