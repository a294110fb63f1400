"""Ties to training frameworks; each module imports its own framework, and nothing else of epochwatch imports any.

`lightning.EpochwatchCallback`, `huggingface.EpochwatchCallback` and `accelerate.EpochwatchTracker`.
"""
