"""What is done with gradients that a graph computed: as the optimiser would, were they autograd's."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrovae.svi.engines.recording import Recording
from pyrovae.svi.optimizers import is_plain_adam, stepper

__all__ = ["Update", "clipped"]


class Update:
    """A step of an optimiser, for the gradients that a recording gives.

    They are taken in the optimiser's order, without those of parameters that are none of its own. Autograd gives a
    gradient the layout of its parameter and memory of its own, and kernels rely on it: here it is copied if it has not.

    Parameters
    ----------
    recording, optimizer, clip_norm
        Whose gradients, what steps, and the largest norm of the gradient or None.
    gradients
        Those of a first run.
    """

    def __init__(
        self,
        recording: Recording,
        optimizer: torch.optim.Optimizer,
        clip_norm: float | None,
        gradients: list[Tensor],
    ) -> None:
        self.recording, self.clip_norm = recording, clip_norm  # a recording that is held keeps its number
        tensors = recording.state.tensors
        own = [p for group in optimizer.param_groups for p in group["params"]]
        place = {id(p): n for n, p in enumerate(own)}
        known = [j for j, i in enumerate(recording.trained) if id(tensors[i]) in place]
        self.order = sorted(known, key=lambda j: place[id(tensors[recording.trained[j]])])
        self.parameters = [tensors[recording.trained[j]] for j in self.order]
        taken = {_memory(t) for t in tensors}
        self.copied: list[int] = []
        for n, (j, parameter) in enumerate(zip(self.order, self.parameters, strict=True)):
            if gradients[j].stride() != parameter.stride() or _memory(gradients[j]) in taken:
                self.copied.append(n)
            taken.add(_memory(gradients[j]))
        self.last: list[Tensor] = []
        self.step = stepper(optimizer, self.parameters)
        self.looks = clip_norm is not None or not is_plain_adam(optimizer)

    def ordered(self, gradients: list[Tensor]) -> list[Tensor]:
        """Those of `parameters`, laid out like them."""
        found = [gradients[j] for j in self.order]
        for n in self.copied:
            found[n] = torch.empty_like(self.parameters[n]).copy_(found[n])
        return found

    def norm(self, gradients: list[Tensor]) -> Tensor | None:
        """Their norm, where it is needed."""
        return torch.nn.utils.get_total_norm(gradients) if self.looks else None

    def take(self, gradients: list[Tensor], norm: Tensor | None) -> None:
        """Take the step."""
        if norm is not None and self.clip_norm is not None:
            gradients = list(torch._foreach_mul(gradients, _factor(norm, self.clip_norm)))
        self.step(gradients)
        self.last = gradients

    def show(self) -> None:
        """Let the parameters have the gradients of the last step, for who looks."""
        for parameter, gradient in zip(self.parameters, self.last, strict=True):
            parameter.grad = gradient


def clipped(gradients: list[Tensor], clip_norm: float | None) -> list[Tensor]:
    """Gradients of at most this norm, of operations that can be recorded; NaN if the norm is not finite."""
    if clip_norm is None:
        return gradients
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    factor = _factor(norm, clip_norm) + 0 * norm
    return [factor * g for g in gradients]


def _factor(norm: Tensor, clip_norm: float) -> Tensor:
    return torch.clamp(clip_norm / (norm + 1e-6), max=1.0)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
