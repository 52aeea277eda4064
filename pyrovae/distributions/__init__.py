"""Distributions that Pyro lacks. They are Pyro distributions, for parts of ours and of your own."""

__all__: list[str] = []
