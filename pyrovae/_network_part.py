"""What the parts that stand on one network share."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pyrovae._calls import Call

__all__ = ["NetworkPart"]


class NetworkPart(nn.Module):
    """Holds the network, and knows whether it takes a context and a mask."""

    def __init__(self, network: Callable[..., Tensor], sizes: str) -> None:
        super().__init__()
        if not callable(network) or isinstance(network, type):
            kind = type(self).__module__.split(".")[1]
            raise TypeError(
                f"{kind}.{type(self).__name__}: expected a network, such as networks.MLP({sizes}), got "
                f"{getattr(network, '__name__', type(network).__name__)}"
            )
        self.network = network
        self._call = Call(network, own=1)
        self.takes = self._call.takes
