"""Numbers as people read them. Pure."""

_MINUS = "\N{MINUS SIGN}"


def figure(value: float, form: str) -> str:
    """`value` in one of Python's formats, such as `.3f`, with a true minus; zero is never negative.

    A form may begin with `+`.
    """
    sign = "+" if form.startswith("+") else ""
    return f"{value:{sign}z{form.removeprefix(sign)}}".replace("-", _MINUS)
