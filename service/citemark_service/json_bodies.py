"""JSON bodies decoded piece by piece, so that no piece keeps other threads waiting for long."""

import codecs
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

import msgspec

from citemark_schemas import ProblemDetail
from citemark_service.errors import InvalidRequest

_WHOLE: Final = 1024 * 1024
"""Bytes that are decoded in one go."""
_SPARSE: Final = 40
"""Bytes for each comma in a body whose lists are decoded item by item; each item takes 80 more."""
BROKEN: Final = b"\xff" * 6
"""Stands where half a surrogate pair stood; no Unicode, which only decoding a text would find."""
_HALF: Final = len(BROKEN)
_LONGEST: Final = 2 * _HALF
_ODD: Final = re.compile(
    rb'"|NaN|Infinity|-Infinity|\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|u[dD][89a-fA-F]..|.)',
    re.DOTALL,
)


def decode_object(body: bytes) -> Mapping[str, Any]:
    """Decode a JSON object, also one with what Python's clients write beside JSON.

    NaN, their empty cell of a table, becomes null, an infinity the text of its name, and half a
    surrogate pair, their broken character, U+FFFD. Raises `InvalidRequest`.
    """
    try:
        try:
            return _decode_pieces(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _decode_pieces(repair(body, half=rb"\ufffd", nan=b"null"))
    except RecursionError as error:
        raise _bad_body("is nested too deeply") from error
    except msgspec.ValidationError as error:
        raise _bad_body("must be an object") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _bad_body(f"is not JSON: {error}") from error


def repair(body: bytes, *, half: bytes, nan: bytes) -> bytes:
    """`body` with `half` for each half of a surrogate pair and `nan` for NaN."""
    body = body.removeprefix(codecs.BOM_UTF8)
    view, whole, at, inside = memoryview(body), bytearray(), 0, False
    for found in _find_odd(body):
        token = found[0]
        if token == b'"':
            inside = not inside
            continue
        if len(token) == _HALF:
            instead = half
        elif token == b"NaN" and not inside:
            instead = nan
        elif token.endswith(b"Infinity") and not inside:
            instead = b'"%b"' % token
        else:
            continue
        whole += view[at : found.start()]
        whole += instead
        at = found.end()
    return bytes(whole + view[at:]) if at else body


def _find_odd(body: bytes) -> Iterator[re.Match[bytes]]:
    """All matches of `_ODD`, looked for in pieces: no thread runs beside one search."""
    at = 0
    while at < len(body):
        end = at + _WHOLE
        for found in _ODD.finditer(body, at, end):
            if found.end() > end - _LONGEST and end < len(body):
                at = found.start()  # it may go on behind the piece
                break
            yield found
            at = found.end()
        else:
            at = max(at, end - _LONGEST)


def split_list(raw: msgspec.Raw, most: int) -> list[msgspec.Raw] | None:
    """The undecoded items of a JSON list; None where they are more than `most`."""
    items = msgspec.structs.astuple(msgspec.json.decode(raw, type=_list_of(most + 1)))
    # Raw is never None: a null is the raw text.
    return None if items[-1] is not None else [item for item in items if item is not None]


@cache
def _list_of(length: int) -> type[msgspec.Struct]:
    """A list of which msgspec keeps so many items, and skips the others without keeping them."""
    fields = [(f"_{at}", msgspec.Raw, None) for at in range(length)]
    return msgspec.defstruct("RawItems", fields, array_like=True)


def _decode_pieces(body: bytes) -> dict[str, Any]:
    if len(body) <= _WHOLE:
        return msgspec.json.decode(body, type=dict[str, Any])
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    sparse = body.count(b",") * _SPARSE < len(body)
    return {name: _decode_value(raw, sparse) for name, raw in fields.items()}


def _decode_value(raw: msgspec.Raw, sparse: bool) -> Any:
    if sparse and bytes(memoryview(raw)[:1]) == b"[":
        return [
            msgspec.json.decode(item) for item in msgspec.json.decode(raw, type=list[msgspec.Raw])
        ]
    return msgspec.json.decode(raw)


def _bad_body(message: str) -> InvalidRequest:
    return InvalidRequest.of([ProblemDetail(loc="body", message=message)])
