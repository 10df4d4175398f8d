"""The fabric as a library: open a node, open channels to services, serve them."""

__version__ = "0.1.0.dev0"
__fabric_runtime__ = True
"""Tells this package from the SSH library that is also named ``fabric``."""
