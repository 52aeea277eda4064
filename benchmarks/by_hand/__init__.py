"""The log densities of the parts as one writes them in torch without a distribution object."""
