"""Traces: where the time of one request went, for OpenTelemetry; nothing of it where they are off.

One trace has the request, its rollouts, and of each its stages, waits, calls and the ledger. A
span says who, how long and how it ended, in ids, counts and kinds; never what a rollout says.
"""
