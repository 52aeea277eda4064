"""Convolutional networks for images, in both directions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn

from pyrovae._numbers import at_least
from pyrovae.networks._inputs import join, line, refuse_mask, told, wholes
from pyrovae.networks._layers import Hidden

__all__ = ["Conv"]

Shape = tuple[int, int, int]


class Conv(nn.Module):
    """Strided convolutions from an image to features, or transposed ones from features to an image.

    Which of the two it is follows from where the shape stands: ``Conv((1, 28, 28), (32, 64), 16)`` reads images,
    ``Conv(8, (64, 32), (1, 28, 28))`` writes them. Each level halves (doubles) height and width, rounding up.

    Parameters
    ----------
    inputs, channels, outputs
        One of ``inputs`` and ``outputs`` is a shape (channels, height, width), the other a number of features.
    blocks
        Number of residual blocks (see `ResNet`) of 3 × 3 convolutions at each level, before its activation.
    activation
        Makes the module between the layers, `torch.nn.ReLU` by default.
    norm, dropout
        As for `MLP`; features are the channels, and ``"layer"`` takes its moments over the whole image (with one scale
        and shift for each channel: group normalisation with one group, Wu & He 2018, 1803.08494).
    flat
        Whether the image that is written has one dimension, (..., channels · height · width), as data have that are
        stored one row per image. Images are read in either form.
    context, mask
        As for `MLP`; the mask is a second image, and a network that writes images takes none.

    Shapes
    ------
    Reads (..., c, h, w) or (..., c · h · w) → (..., outputs); writes (..., inputs) → (..., c, h, w) or, with
    ``flat``, (..., c · h · w).

    Raises
    ------
    ValueError
        If not exactly one side is a shape, the input has another shape, or a context or mask comes that the network
        was not built for.

    Examples
    --------
    >>> import torch
    >>> Conv((1, 28, 28), (32, 64), 16)
    Conv(1×28×28 → 32 → 64 → 16, ReLU)
    >>> Conv((1, 28, 28), (16, 32), 16)(torch.zeros(5, 784)).shape
    torch.Size([5, 16])
    >>> Conv(8, (32, 16), (1, 28, 28))(torch.zeros(5, 8)).shape
    torch.Size([5, 1, 28, 28])
    """

    def __init__(
        self,
        inputs: int | Shape,
        channels: Sequence[int],
        outputs: int | Shape,
        *,
        blocks: int = 0,
        activation: Callable[[], nn.Module] = nn.ReLU,
        norm: str | None = None,
        dropout: float = 0.0,
        flat: bool = False,
        context: int = 0,
        mask: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(inputs, Integral) == isinstance(outputs, Integral):
            raise ValueError(
                "Conv: expected a shape (channels, height, width) as inputs (to read images) or as outputs (to write "
                f"them), and a number of features on the other side; got inputs={inputs!r}, outputs={outputs!r}"
            )
        channels = wholes("Conv: channels", channels)
        then = Hidden("Conv", activation, norm, dropout, blocks, images=True)
        if not channels:
            raise ValueError("Conv: expected at least one number of channels, got none; without levels use MLP")
        self.reads = not isinstance(inputs, Integral)
        if not self.reads and mask:
            raise ValueError("Conv: a network that writes images takes no mask; give it to the one that reads them")
        self.flat, self.context = flat, context
        self.takes = told(context, mask)
        self.shape: Shape = wholes("Conv: the images' shape", inputs if self.reads else outputs)  # type: ignore[assignment]
        if len(self.shape) != 3:
            raise ValueError(f"Conv: expected a shape (channels, height, width), got {self.shape}")
        size = at_least("Conv: the number of features", outputs if self.reads else inputs, 1)
        sizes = [(self.shape[1], self.shape[2])]
        for _ in channels:
            sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
        depth, layers = self.shape[0] * (2 if mask else 1), []
        if self.reads:
            for width in channels:
                layers += [nn.Conv2d(depth, width, 3, stride=2, padding=1, bias=then.bias), *then.after(width)]
                depth = width
            self.images = nn.Sequential(*layers)
            self.features = nn.Linear(depth * math.prod(sizes[-1]) + context, size)
        else:
            self.inputs = size
            self.start = (channels[0], *sizes[-1])
            self.features = nn.Linear(size + context, math.prod(self.start))
            widths = [*channels, self.shape[0]]
            for level in range(len(channels)):
                small, large = sizes[-1 - level], sizes[-2 - level]
                extra = (1 - 2 * small[0] + large[0], 1 - 2 * small[1] + large[1])
                bias = then.bias or level == len(channels) - 1  # the image itself is not normalised
                layers += [
                    *then.after(widths[level]),
                    nn.ConvTranspose2d(
                        widths[level], widths[level + 1], 3, stride=2, padding=1, output_padding=extra, bias=bias
                    ),
                ]
            self.images = nn.Sequential(*layers)
        ends = ["×".join(map(str, self.shape)), size]
        first, last = ends if self.reads else reversed(ends)
        self._line = line(self, (first, *channels, last), then.details(), "flat" if flat else "")

    def forward(self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """Read or write images."""
        refuse_mask(self, mask)
        return self._read(x, context, mask) if self.reads else self._write(x, context)

    def __repr__(self) -> str:
        return self._line

    def _read(self, x: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        x, batch = self._images(x)
        if "mask" in self.takes:
            x = torch.cat([x, torch.ones_like(x) if mask is None else self._images(mask.to(x.dtype))[0]], 1)
        out = self.images(x).flatten(1)
        return self.features(join(out.reshape(*batch, out.shape[-1]), context, self.context))

    def _write(self, z: Tensor, context: Tensor | None) -> Tensor:
        if z.shape[-1] != self.inputs:
            raise ValueError(
                f"Conv({self.inputs}, …, {self.shape}): expected {self.inputs} features in the last dimension, got "
                f"shape {tuple(z.shape)}: build it for {z.shape[-1]}, or check its input"
            )
        out = self.images(self.features(join(z, context, self.context)).reshape(-1, *self.start))
        return out.reshape(*z.shape[:-1], *((-1,) if self.flat else self.shape))

    def _images(self, x: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        """Images (n, c, h, w) and the batch shape they had."""
        if tuple(x.shape[-3:]) == self.shape:
            return x.reshape(-1, *self.shape), tuple(x.shape[:-3])
        if x.shape[-1] == math.prod(self.shape):
            return x.reshape(-1, *self.shape), tuple(x.shape[:-1])
        lacks_channel = self.shape[0] == 1 and tuple(x.shape[-2:]) == self.shape[1:]
        raise ValueError(
            f"Conv: expected images of shape {self.shape} or {math.prod(self.shape)} pixels in a row, got "
            f"{tuple(x.shape)}: "
            + ("add the channel, x.unsqueeze(-3)" if lacks_channel else "build it for the shape of the data")
        )
