"""Figures of this product and of its rivals, taken in the same run; `python -m tests.bench`."""
