"""What is kept of a run after it has ended, and what is made of it: comparison, curves, one page, a few lines.

Imported only where a history is kept or read; a training without one never meets it.
"""
