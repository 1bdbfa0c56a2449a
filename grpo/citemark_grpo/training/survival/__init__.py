"""What keeps a run alive on a full disk, and exactly repeatable after a kill.

    storage.py      which errors say that a file system is full, and how to outlive them
    space.py        how much may still be written, quota included
    folders.py      checkpoints on disk: complete or not there at all; which ones go
    keeper.py       one checkpoint, whatever the disk says: make room, write, or go on without
    ranks.py        one decision for all processes (accelerate)
    generation.py   what TRL knows about rollouts half used, saved and restored (torch)
    trainer.py      GRPOTrainer with all this (torch, TRL)

A checkpoint is written beside its place, synced, marked complete and moved there in one step, so
that whatever is called `checkpoint-N` is whole.
"""
