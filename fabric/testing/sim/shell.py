"""One simulated node: the cores of a node, and what carries out their effects in virtual time.

Does what the shells of :mod:`fabric.runtime` do, in the same order: see the switchboard and the
planes there. What they leave to trio is left to the heap here.
"""
