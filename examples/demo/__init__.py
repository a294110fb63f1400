"""The main job in one command: a real training stops learning, and a signed message says so.

Flow: `stack` starts the real processes, `watch` sees each hop happen, `report` prints them; `__main__` is `make demo`.
The training itself is `examples/digits.py`, an ordinary training script.
"""
