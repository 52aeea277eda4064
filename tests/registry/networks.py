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
    Network("MLP, dropout", lambda: networks.MLP(5, (8, 6), 3, dropout=0.4), (5,), (3,)),
    Network("MLP, batch norm", lambda: networks.MLP(5, (8, 6), 3, norm="batch", context=2), (5,), (3,), context=2),
    Network("MLP, layer norm", lambda: networks.MLP(5, (8, 6), 3, norm="layer", dropout=0.1), (5,), (3,)),
    Network("ResNet", lambda: networks.ResNet(5, 8, 3), (5,), (3,)),
    Network("ResNet, batch norm", lambda: networks.ResNet(5, 8, 3, norm="batch", dropout=0.2), (5,), (3,)),
    Network(
        "ResNet, layer norm, both",
        lambda: networks.ResNet(5, 8, 3, blocks=1, norm="layer", context=2, mask=True),
        (5,),
        (3,),
        context=2,
        mask=True,
    ),
    Network("Set", lambda: networks.Set(4, (8, 6), (5,), 3), (7, 4), (3,)),
    Network("Set, sum", lambda: networks.Set(4, (8,), (), 3, pool="sum", dropout=0.1), (7, 4), (3,)),
    Network("Set, max", lambda: networks.Set(4, (8,), (5,), 3, pool="max", mask=True), (7, 4), (3,), mask=True),
    Network("Set, batch norm", lambda: networks.Set(4, (8,), (5,), 3, norm="batch"), (7, 4), (3,)),
    Network(
        "Set, layer norm, both",
        lambda: networks.Set(4, (8,), (5,), 3, norm="layer", context=2, mask=True),
        (7, 4),
        (3,),
        context=2,
        mask=True,
    ),
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
    Network("Conv reads, batch norm", lambda: networks.Conv((1, 9, 8), (4, 6), 3, norm="batch"), (1, 9, 8), (3,)),
    Network("Conv reads, blocks", lambda: networks.Conv((1, 9, 8), (4, 6), 3, blocks=2, norm="layer"), (72,), (3,)),
    Network("Conv writes, batch norm", lambda: networks.Conv(5, (4, 3), (2, 7, 8), norm="batch"), (5,), (2, 7, 8)),
    Network(
        "Conv writes, blocks",
        lambda: networks.Conv(5, (4, 3), (2, 7, 8), blocks=1, norm="layer", dropout=0.2),
        (5,),
        (2, 7, 8),
    ),
)
