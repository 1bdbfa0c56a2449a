"""What a run leaves behind for people: numbers, rollouts, a curve, a card. No torch.

judged.py      one judged rollout, as all processes send it to the first
means.py       a step's rollouts as bounded, flat numbers
journal.py     one JSON line a step, on the disk before the next step
samples.py     some rollouts with their verdicts, as JSON lines and as a page
board.py       TensorBoard that outlives a full disk (torch)
watch.py       all of these, told by the trainer (transformers)
card.py        the model card of a checkpoint
plot.py        the journal as a picture (matplotlib)
"""
