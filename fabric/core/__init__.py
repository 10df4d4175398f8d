"""Deterministic heart of the fabric.

Nothing in this package opens a socket, reads a clock, draws entropy, or awaits. Time arrives
as ``now``, randomness as bytes or an ``rng``, and every consequence leaves as an effect for a
shell in :mod:`fabric.runtime` to carry out.
"""
