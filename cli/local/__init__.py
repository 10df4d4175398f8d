"""The local fabric of one checkout: planned, set up, started, watched and ended."""
