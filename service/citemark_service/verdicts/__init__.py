"""Verdicts are kept by content, and one that is being judged is awaited: nothing is judged twice.

    keys.py      what a verdict depends on, as a hash
    cache.py     verdicts as bytes, in this process's memory before a store
    store.py     what a store that outlives the process must do, and its batches and time limit
    sqlite.py    a file
    redis.py     a server that several services share
    caching.py   the judge before a judge, with one judgement for all who wait for it
    factory.py   from settings to that judge

A store is trusted: who can write to it decides rewards.
"""
