"""Optimisation of inversion masks: Algorithms 1 and 2 of Du et al. (KDD 2018), for many images and classes at once."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vitrine.attribution.autograd.gradient_flow import differentiating
from vitrine.attribution.autograd.loss_scaling import scaled_gradients
from vitrine.attribution.inversion.objective import InversionObjective
from vitrine.core.allocator import keeping_freed_memory

CPU_PIXELS = 4 * 224**2
"""Pixels in one pass on a CPU; with more, its allocator no longer reuses memory: MobileNetV2 took 1.7 times as long."""


@dataclass(frozen=True)
class InversionResult:
    """The result of optimising R rows."""

    weights: Tensor
    """(R, n) ω ≥ 0."""
    masks: Tensor
    """(R, 1, H, W)."""
    loss: Tensor
    """(R,) loss before the last step; NaN if no step was made."""
    steps: Tensor
    """(R,) int64 number of steps."""
    converged: Tensor
    """(R,) bool: whether the last step changed the mask by no more than the tolerance, and the loss is finite."""


def no_progress(_loss: Tensor) -> None:
    """Does nothing, where progress is not shown."""


def optimise(
    objective: InversionObjective, start: Tensor, advance: Callable[[Tensor], None] = no_progress
) -> InversionResult:
    """Minimises the losses of R rows by Adam: stage 1, then stage 2 with a new Adam.

    ω is clamped at 0, and free pixels at 1 too, after every step. Adam is elementwise, so the result of a row is that of a
    run of its own. With ``stop_when_converged``, converged rows leave, and the others go on without them.

    Args:
        objective: of R rows.
        start: (R, n) ω before the first step.
        advance: called after every step with the (r,) losses of the rows that are still running.
    """
    if not objective.settings.inversion_steps + objective.settings.class_steps:
        return _Descent(objective, start.detach().clone()).result()
    with keeping_freed_memory(start.device):
        return _descended(_Descent(objective.for_many_steps(), start.detach().clone()), advance)


def _descended(descent: "_Descent", advance: Callable[[Tensor], None]) -> InversionResult:
    settings = descent.whole.settings
    for _ in range(settings.inversion_steps):
        advance(descent.step(InversionObjective.inversion_loss, halve=settings.one_schedule))
    if not settings.one_schedule:
        descent.restart()
    for _ in range(settings.class_steps):
        advance(descent.step(InversionObjective.class_loss, halve=True))
        if settings.stop_when_converged:
            descent.drop_converged()
    return descent.result()


def rows_at_once(images: Tensor) -> int:
    """The number of rows that go through a network together; it changes no result."""
    if images.device.type != "cpu":
        return max(1, len(images))
    return max(1, CPU_PIXELS // images[0, 0].numel())


class _Descent:
    """The state of the optimisation: the running rows, and the results of the others."""

    def __init__(self, objective: InversionObjective, weights: Tensor) -> None:
        self.whole = self.objective = objective
        self.weights = weights
        count = len(weights)
        self.running = torch.arange(count, device=weights.device)
        self.loss = weights.new_full((count,), torch.nan)
        self.steps = torch.zeros(count, dtype=torch.int64, device=weights.device)
        self.converged = torch.zeros(count, dtype=torch.bool, device=weights.device)
        self.previous: Tensor | None = None
        self.restart()

    def restart(self) -> None:
        """Starts a new Adam."""
        self.current = self.weights[self.running].requires_grad_()
        self.adam = torch.optim.Adam([self.current], lr=self.objective.settings.learning_rate)
        self.num_steps = 0

    def step(self, loss_of: Callable[[InversionObjective, Tensor], Tensor], *, halve: bool) -> Tensor:
        """Makes one step of the running rows; returns their losses before it."""
        if not len(self.running):
            return self.loss[:0]
        self.previous = self.current.detach().clone()
        loss, self.current.grad = self._loss_and_gradient(loss_of)
        self.adam.step()
        self.current.detach().clamp_(0, self.objective.largest_weight)
        self.num_steps += 1
        if halve and self.num_steps % self.objective.settings.halving == 0:
            self.adam.param_groups[0]["lr"] /= 2
        self._record(loss)
        return loss

    def _loss_and_gradient(self, loss_of: Callable[[InversionObjective, Tensor], Tensor]) -> tuple[Tensor, Tensor]:
        """(r,) losses and (r, n) gradients of the running rows."""
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        size = rows_at_once(self.objective.images)
        for start in range(0, len(self.current), size):
            rows = slice(start, start + size)
            with differentiating(self.objective.network.model):
                weights = self.current.detach()[rows].requires_grad_()
                loss = loss_of(self.objective.rows(rows), weights)
                gradients += scaled_gradients([loss], [weights], [torch.ones_like(loss)])
            losses.append(loss.detach())
        return torch.cat(losses), torch.cat(gradients)

    def _record(self, loss: Tensor) -> None:
        self.weights[self.running] = self.current.detach()
        self.loss[self.running] = loss.to(self.loss)
        self.steps[self.running] += 1

    def _check_convergence(self) -> None:
        """Records which of the running rows the last step hardly changed; the masks are made for this alone."""
        if self.previous is None or not len(self.running):
            return
        change = self.objective.masks(self.current.detach()) - self.objective.masks(self.previous)
        converged = change.abs().mean(dim=(1, 2, 3)) <= self.objective.settings.tolerance
        self.converged[self.running] = converged & self.loss[self.running].isfinite()

    def drop_converged(self) -> None:
        """Goes on without the rows whose masks have converged."""
        self._check_convergence()
        unconverged = (~self.converged[self.running]).nonzero().squeeze(1)
        if len(unconverged) == len(self.running):
            return
        self.running, self.objective = self.running[unconverged], self.objective.rows(unconverged)
        state, rate = self.adam.state[self.current], self.adam.param_groups[0]["lr"]
        self.current, self.previous = self.current.detach()[unconverged].requires_grad_(), None
        self.adam = torch.optim.Adam([self.current], lr=rate)
        self.adam.state[self.current] = {
            name: value[unconverged] if value.ndim else value for name, value in state.items()
        }

    def result(self) -> InversionResult:
        """The result of all rows."""
        self._check_convergence()
        masks = self.whole.masks(self.weights).detach()
        return InversionResult(self.weights, masks, self.loss, self.steps, self.converged)
