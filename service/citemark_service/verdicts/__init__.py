"""The cache of verdicts, keyed by content, and the sharing of judgements in flight.

A store is trusted: who can write to it decides rewards.
"""
