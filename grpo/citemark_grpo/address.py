"""A service's URL, with or without a token in it."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qs, unquote

import httpx

_IN_PATH: Final = re.compile(r"/t/([^/]+)$")


@dataclass(frozen=True, slots=True)
class Address:
    root: str
    """No trailing slash and no token: errors and logs show it."""
    token: str | None = field(default=None, repr=False)


def parse_address(url: str) -> Address:
    """Split `http://HOST/t/TOKEN` or `http://HOST/?token=TOKEN` into root and token.

    Both forms are for trainers that take nothing but a URL. The client sends the token as a header
    instead, which no HTTP library logs. Raises `ValueError` for anything but such a URL.
    """
    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"{url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"{url!r} is no URL of a service, such as http://127.0.0.1:8000")
    query = parse_qs(parts.query.decode("ascii"), keep_blank_values=True)
    if query.keys() - {"token"} or parts.fragment:
        raise ValueError(
            f"{parts.copy_with(query=None, fragment=None)} has a query; a service's URL takes "
            "none but ?token=, and what else it would say stands in the client's settings"
        )
    root = str(parts.copy_with(query=None)).rstrip("/")
    prefix = _IN_PATH.search(root)
    tokens = [*query.get("token", ()), *([unquote(prefix[1])] if prefix else ())]
    return Address(root[: prefix.start()] if prefix else root, tokens[0] if tokens else None)
