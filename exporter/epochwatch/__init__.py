"""The training side of epochwatch: a PyTorch loop says what it is doing, Prometheus scrapes it."""
