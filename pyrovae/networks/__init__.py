"""Networks: from latent to data and back. Any `torch.nn.Module` works in their place."""

from pyrovae.networks.conv import Conv
from pyrovae.networks.mlp import MLP

__all__ = ["MLP", "Conv"]
