"""Which requests of browsers are this site's own: those of other sites are refused."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from fastapi import Request
from starlette.datastructures import Headers

from citemark_service.errors import Misplaced
from citemark_service.settings import Settings
from citemark_service.web.ui import links

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class SameSite:
    """A dependency of every route: raises `Misplaced`.

    A form or script of another site is refused where it could change something, or have a rollout
    scored. So is any name in `Host` that is not this service's, for pages and for what a browser
    posts: the name of another site, whose address its owner changes to this one, is to a browser
    that site. Trainers' clients send neither `Origin` nor `Sec-Fetch-Site`, and may use any name.
    """

    def __init__(self, settings: Settings) -> None:
        self._names = {"localhost", settings.host.lower(), *map(str.lower, settings.allowed_hosts)}
        self._any = "*" in self._names or (
            settings.api_token is not None
            and not settings.allowed_hosts
            and not is_loopback(settings.host)
        )

    async def __call__(self, request: Request) -> None:
        headers, page = request.headers, links.is_page(request.scope["path"])
        changes = request.method not in _SAFE
        browser = "origin" in headers or "sec-fetch-site" in headers
        if (page or (changes and browser)) and not self._knows(headers.get("host")):
            name = "CITEMARK_ALLOWED_HOSTS"
            raise Misplaced(f"this service is not known by the name in Host; add it to {name}")
        if changes and _is_elsewhere(headers, page=page):
            raise Misplaced("another site sent this; nothing was done")

    def _knows(self, host: str | None) -> bool:
        if self._any or host is None:  # every browser sends it
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        # Nobody can make an address mean another one.
        return name in self._names or is_address(name)


def _is_elsewhere(headers: Headers, *, page: bool) -> bool:
    # Browsers name the site that sends a form; without any, the client is no browser.
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] not in {"same-origin", "none"}
    origin = headers.get("origin")
    # Browsers without Sec-Fetch-Site say `null` for the pages' own forms, under no-referrer.
    if origin is None or (page and origin == "null"):
        return False
    return origin.partition("://")[2] != headers.get("host")


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)
