"""How much memory JSON takes once it is decoded, told from its text before. Pure; linear time."""

import json
import reprlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

_MIB: Final = 1024 * 1024
_PIECE: Final = _MIB // 4
_SMALL: Final = 64 * 1024
"""Bytes of JSON that are decoded as they are."""
# Bytes that CPython takes for what such a mark announces: a number and its place in a list, half
# of a string (each has two marks) with its place, a list or an object.
_COMMA: Final = 40
_QUOTE: Final = 20
_OPENING: Final = 160


class Bulky(ValueError):
    """JSON whose values would take many times its own size."""


def refuse_bulky(text: bytes, *, times: int = 10, most: int = 64 * 1024 * 1024) -> Iterator[None]:
    """Raise `Bulky` where `text` has more values than `times` its size, or MiB, can hold.

    `most` bounds that. Yields after each piece, at which a caller can let others have their turn.
    """
    limit, bytes_so_far = max(times * _MIB, min(times * len(text), most)), 0
    at, inside = 0, 0
    while len(text) > _SMALL and at < len(text):
        piece = text[at : at + _PIECE]
        # An escape is not to be cut in two.
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = text[at : at + _PIECE + 1]
        at += len(piece)
        bare = piece.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in piece else piece
        quotes = bare.count(b'"')
        outside = b"".join(bare.split(b'"')[inside::2])
        inside ^= quotes & 1
        bytes_so_far += _QUOTE * quotes + _COMMA * outside.count(b",")
        bytes_so_far += _OPENING * (outside.count(b"[") + outside.count(b"{"))
        if bytes_so_far > limit:
            raise Bulky(f"holds more values than {limit} bytes of memory have room for")
        yield


class RepeatedKey(ValueError):
    """An object of JSON has a key twice, of which a decoder would keep the last."""


def to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object for `json.loads(…, object_pairs_hook=to_object)`. Raises `RepeatedKey`."""
    held = dict(pairs)
    if len(held) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise RepeatedKey(f"has the key {reprlib.repr(twice)} twice in one object: keep one")
    return held


def loads(text: str, *, unique: bool = False) -> Any:
    """`json.loads`, which refuses what is bulky and, on request, a key given twice.

    Raises `ValueError` and `RecursionError`.
    """
    if len(text) > _SMALL:
        # Whoever reads a text within a row copies the values as well.
        for _ in refuse_bulky(text.encode("utf-8", "surrogatepass"), times=5):
            pass
    return json.loads(text, object_pairs_hook=to_object if unique else None)
