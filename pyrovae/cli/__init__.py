"""The command line: ``pyrovae fit``, ``pyrovae report``, ``pyrovae data``."""

from pyrovae.cli.app import main

__all__ = ["main"]
