"""Numbers with a true minus, readable back as what they were."""

from hypothesis import given
from hypothesis import strategies as st

from citemark_service.printable import figure

MINUS = "\N{MINUS SIGN}"


@given(st.floats(-1e6, 1e6), st.sampled_from([".2f", ".3f", "+.2f", ".3g"]))
def test_a_figure_is_its_number_with_a_true_minus(value: float, form: str) -> None:
    shown = figure(value, form)
    assert "-" not in shown
    assert float(shown.replace(MINUS, "-")) == float(f"{value:{form}}")


def test_zero_is_never_negative() -> None:
    assert figure(-0.001, ".2f") == "0.00"
    assert figure(-0.001, "+.2f") == "+0.00"
    assert figure(-0.0, ".3g") == "0"
