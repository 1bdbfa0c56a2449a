"""Verdicts are kept by content, and one that is being judged is awaited: nothing is judged twice.

A store is trusted: who can write to it decides rewards.
"""
