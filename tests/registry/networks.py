"""Every network. A new one is tested by being listed here."""

from __future__ import annotations

from pyrovae import networks
from tests.registry._part import Network

NETWORKS = (
    Network("MLP", lambda: networks.MLP(5, (8, 6), 3), (5,), (3,)),
    Network("MLP, affine", lambda: networks.MLP(5, (), 3), (5,), (3,)),
    Network("MLP, context", lambda: networks.MLP(5, (8,), 3, context=2), (5,), (3,), context=2),
    Network("MLP, mask", lambda: networks.MLP(5, (8,), 3, mask=True), (5,), (3,), mask=True),
    Network("MLP, both", lambda: networks.MLP(5, (8,), 3, context=2, mask=True), (5,), (3,), context=2, mask=True),
    Network("Conv reads", lambda: networks.Conv((1, 27, 31), (4, 6), 3), (1, 27, 31), (3,)),
    Network("Conv reads rows", lambda: networks.Conv((2, 8, 9), (4,), 3), (2 * 8 * 9,), (3,)),
    Network(
        "Conv reads, both",
        lambda: networks.Conv((2, 9, 8), (4,), 3, context=2, mask=True),
        (2, 9, 8),
        (3,),
        context=2,
        mask=True,
    ),
    Network("Conv writes", lambda: networks.Conv(5, (6, 4), (1, 27, 31)), (5,), (1, 27, 31)),
    Network("Conv writes rows", lambda: networks.Conv(5, (4,), (2, 8, 9), flat=True), (5,), (2 * 8 * 9,)),
    Network("Conv writes, context", lambda: networks.Conv(5, (4,), (2, 7, 8), context=2), (5,), (2, 7, 8), context=2),
)
