"""The maximum mean discrepancy."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pyrovae._numbers import check_flag
from pyrovae.objectives.distances._samples import check_samples, mean_of_pairs
from pyrovae.objectives.distances.kernels import RBF

__all__ = ["MMD"]


class MMD(nn.Module):
    """MMD² = E k(z, z′) + E k(y, y′) − 2 E k(z, y), of codes z and draws y of the prior.

    It is 0 only where the two laws are the same, if the kernel is characteristic, as those of ours are. The
    U-statistic leaves out the pairs of a point with itself: its mean is MMD², so it may be negative, and often is where
    the laws agree. The V-statistic keeps them: it is never negative, and too large by
    (E k(z, z) − E k(z, z′))/n + (E k(y, y) − E k(y, y′))/m.

    Parameters
    ----------
    kernel
        k: `RBF`, `InverseMultiquadratic`, or any positive definite function of a (n, L) and b (m, L) that returns
        (n, m), with a gradient; `RBF()` by default.
    unbiased
        Take the U-statistic, which needs two codes.
    closed
        Take both means over the prior in closed form, for a N(0, I) and the `RBF` kernel: the same mean with less
        noise. The draws are not looked at then.

    Shapes
    ------
    codes (n, L), draws (m, L) → ().

    Raises
    ------
    TypeError
        If the kernel is no function, or a class instead of a kernel.
    ValueError
        If there is no closed form for the kernel; in use, for shapes that do not agree or too few codes.

    References
    ----------
    Gretton, Borgwardt, Rasch, Schölkopf & Smola 2012, JMLR 13, 723-773, lemma 6; Rustamov 2019, 1901.03227, for the
    closed form.

    Examples
    --------
    >>> import torch
    >>> MMD(RBF(1), unbiased=False)(torch.zeros(3, 2), torch.zeros(4, 2))
    tensor(0.)
    >>> MMD()
    MMD(RBF())
    """

    def __init__(
        self, kernel: Callable[[Tensor, Tensor], Tensor] | None = None, *, unbiased: bool = True, closed: bool = False
    ) -> None:
        super().__init__()
        kernel = RBF() if kernel is None else kernel
        if not callable(kernel) or isinstance(kernel, type):
            name = getattr(kernel, "__name__", repr(kernel))
            raise TypeError(
                "objectives.MMD: kernel: expected a function of a (n, L) and b (m, L), such as objectives.RBF(), got "
                + (f"the class {name}: write {name}()" if isinstance(kernel, type) else name)
            )
        self.kernel = kernel
        self.unbiased = check_flag("objectives.MMD: unbiased", unbiased)
        self.closed = check_flag("objectives.MMD: closed", closed)
        if closed and not isinstance(kernel, RBF):
            raise ValueError(
                f"objectives.MMD: closed=True needs the kernel objectives.RBF, got {_name(kernel)}: leave closed out"
            )

    @property
    def least(self) -> int:
        """The fewest codes that it compares."""
        return 2 if self.unbiased else 1

    def forward(self, codes: Tensor, draws: Tensor | None = None) -> Tensor:
        """MMD²."""
        draws = check_samples("MMD", codes, codes if self.closed else draws, self.least)
        own = mean_of_pairs(self._gram(codes, codes), unbiased=self.unbiased)
        if isinstance(self.kernel, RBF) and self.closed:
            of_codes, of_prior = self.kernel.normal_means(codes)
            return own - 2 * of_codes.mean() + of_prior
        rest = mean_of_pairs(self._gram(draws, draws), unbiased=self.unbiased)
        return own + rest - 2 * self._gram(codes, draws).mean()

    def _gram(self, a: Tensor, b: Tensor) -> Tensor:
        gram = self.kernel(a, b)
        if not isinstance(gram, Tensor) or gram.shape != (len(a), len(b)):
            came = tuple(gram.shape) if isinstance(gram, Tensor) else type(gram).__name__
            raise ValueError(
                f"objectives.MMD: expected a kernel that makes {(len(a), len(b))} of {tuple(a.shape)} and "
                f"{tuple(b.shape)}, and {_name(self.kernel)} made {came}"
            )
        return gram

    def __repr__(self) -> str:
        settings = [_name(self.kernel), *["unbiased=False"] * (not self.unbiased), *["closed=True"] * self.closed]
        return f"MMD({', '.join(settings)})"


def _name(kernel: object) -> str:
    return repr(kernel) if isinstance(kernel, nn.Module) else getattr(kernel, "__name__", repr(kernel))
