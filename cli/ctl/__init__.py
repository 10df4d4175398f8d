"""The nouns and verbs of ``fabricctl``, a module for each kind of thing."""
