"""Contestants, each a process of its own that works only when the driver tells it to."""
