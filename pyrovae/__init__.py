"""pyrovae: variational autoencoders as Pyro programs, with evidence on whether the inference worked."""
