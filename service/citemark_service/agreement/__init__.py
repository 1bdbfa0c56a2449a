"""Measuring a judge against human labels."""
