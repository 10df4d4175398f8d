"""This node's disk: what it has to know again after a restart, with nobody there to ask."""
