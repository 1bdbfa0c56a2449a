"""Measuring a judge: against labels by people, and against cases of its own rules."""
