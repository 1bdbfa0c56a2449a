"""Never judge twice: verdicts are kept by content, and one that is being judged is awaited.

    keys.py      what a verdict depends on, as a hash
    codec.py     a verdict as bytes, under positions instead of ids
    memory.py    the verdicts of this process, least recently used out first
    store.py     what a store that outlives the process must do
    sqlite.py    a file
    redis.py     a server that several services share
    guard.py     a store's trouble is a miss, never a failure
    batches.py   many small reads and writes as few large ones
    cache.py     memory before store
    flights.py   one judgement for all who wait for it
    caching.py   the judge that uses all this
    factory.py   from settings to that judge

A store is trusted: who can write to it decides rewards.
"""
