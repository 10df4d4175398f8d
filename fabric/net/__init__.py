"""Sockets and files of keys: moves bytes, makes no policy."""
