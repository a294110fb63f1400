"""The robots of the vendors: each takes a message and says what became of it."""
