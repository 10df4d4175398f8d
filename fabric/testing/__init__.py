"""What tests and simulations of a fabric need, shipped as trio ships ``trio.testing``."""
