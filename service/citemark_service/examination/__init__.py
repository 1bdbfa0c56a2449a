"""Checks of the judge's servers, for `doctor` and at start-up."""
