"""Networks: from latent to data and back. Any `torch.nn.Module` works in their place."""

from pyrovae.networks.columns import Columns
from pyrovae.networks.conv import Conv
from pyrovae.networks.mlp import MLP
from pyrovae.networks.resnet import ResNet
from pyrovae.networks.set import Set

__all__ = ["MLP", "Columns", "Conv", "ResNet", "Set"]
