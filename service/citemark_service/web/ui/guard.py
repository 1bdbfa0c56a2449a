"""What every page carries against hostile text and hostile sites."""

from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers

POLICY: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every page. Even text that slipped through as markup could load and run nothing."""

_OWN: Final = frozenset({"same-origin", "none"})


def from_elsewhere(headers: Headers) -> bool:
    """Whether a browser says that another site sent this form.

    Browsers name the site that sends a form; what names none is no browser.
    """
    if "sec-fetch-site" in headers:
        return headers["sec-fetch-site"] not in _OWN
    origin = headers.get("origin")
    # Under no-referrer, browsers without Sec-Fetch-Site say `null` for their own forms too.
    return origin not in (None, "null") and urlsplit(origin).netloc != headers.get("host")
