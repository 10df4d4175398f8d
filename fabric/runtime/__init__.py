"""Trio shells that carry out what the cores decide."""
