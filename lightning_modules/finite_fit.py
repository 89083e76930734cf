"""FiniteFitModule: stops a fit at its first NaN or infinity, before a checkpoint or an export would hold one."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from pytorch_lightning import LightningModule
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from typing_extensions import override

from vitrine.core.checkpoint_files import newest_whole
from vitrine.core.distributed import gather_over_ranks, world_size

NEVER = 2**62
STEPS_BETWEEN_READS = 50
"""How often an accelerator is asked, since each answer waits for all that it has been given to do."""
MOST_SKIPPED = 50
"""Steps in a row that the scaler of float16 may skip: as many halve its scale to nothing."""


class FirstBadSteps:
    """The first step at which each of several watched values was not finite, kept on their device.

    Nothing is waited for before `earliest` is asked.
    """

    def __init__(self) -> None:
        self._first: dict[tuple[str, ...], Tensor] = {}
        self._skipped: Tensor | None = None
        self._scaled_steps = 0

    def note(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Looks at the values of a step, by name; all of each are looked at."""
        if not values:
            return
        if all(value.ndim == 0 for value in values.values()):
            finite = torch.isfinite(torch.stack(list(values.values())))
        else:
            finite = torch.stack([torch.isfinite(value).all() for value in values.values()])
        self._take(step, tuple(values), finite)

    def note_skipped(self, step: int, name: str, value: Tensor) -> None:
        """Looks at a value that may be infinite now and then, as a scaler skips such a step; not for long."""
        before = torch.zeros_like(value, dtype=torch.int64) if self._skipped is None else self._skipped
        self._skipped = torch.where(torch.isfinite(value), 0, before + 1)
        self._scaled_steps += 1
        self._take(step, (name,), (self._skipped < MOST_SKIPPED)[None])

    @property
    def skipped_all(self) -> bool:
        """Whether a scaler has skipped each step that there was."""
        return self._skipped is not None and int(self._skipped) == self._scaled_steps

    def _take(self, step: int, names: tuple[str, ...], finite: Tensor) -> None:
        first = torch.where(finite, NEVER, step)
        known = self._first.get(names)
        self._first[names] = first if known is None else torch.minimum(known, first)

    def earliest(self) -> tuple[int, list[str]]:
        """The first step at which anything was not finite, and what; `NEVER` and nothing where all is well."""
        steps = {
            name: step for names, first in self._first.items() for name, step in zip(names, first.tolist(), strict=True)
        }
        earliest = min(steps.values(), default=NEVER)
        return earliest, [name for name, step in steps.items() if step == earliest != NEVER]


class FiniteFitModule(LightningModule):
    """Watches the loss and its terms, what it is computed of, gradients, parameters and buffers of a fit.

    Losses, inputs and gradients are looked at in each step. On a CPU the fit stops at the end of the first step in which one
    is not finite; on other devices some steps later, but before anything is written. Parameters are looked at before the
    first step, whenever a checkpoint is written, and before an export. All ranks stop at the same step.
    """

    def __init__(self) -> None:
        super().__init__()
        self._bad_steps = FirstBadSteps()
        self._epochs: list[tuple[int, int]] = []  # the first step of each epoch that was begun here, and its number

    # What is watched

    @property
    def _step(self) -> int:
        """Number of the training step that runs, from 1; one for each batch."""
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.total.ready)

    @property
    def _scales_gradients(self) -> bool:
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None

    @property
    def _reading_waits(self) -> bool:
        return self.device.type != "cpu"

    def watch(self, values: Mapping[str, Tensor]) -> None:
        """Has values of the training step that runs looked at, by the names that a message gives them."""
        if self._trainer is not None and self.trainer.training:
            self._bad_steps.note(self._step, values)

    @override
    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        gradients = [
            value.grad for group in optimizer.param_groups for value in group["params"] if value.grad is not None
        ]
        if not gradients:
            return
        largest = largest_of(in_whole_blocks(gradients))
        if self._scales_gradients:
            self._bad_steps.note_skipped(self._step, f"the gradient, {MOST_SKIPPED} steps in a row", largest)
        else:
            self.watch({"the gradient": largest})

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if not self._epochs or self._epochs[-1][1] != self.trainer.current_epoch:
            self._epochs.append((self._step, self.trainer.current_epoch))

    @override
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else None
        if isinstance(loss, Tensor):
            self.watch({"the loss": loss})
        if not self._reading_waits or batch_idx % STEPS_BETWEEN_READS == 0 or self.trainer.is_last_batch:
            self.check_steps(batch)

    # What is refused

    @override
    def on_train_start(self) -> None:
        self._bad_steps, self._epochs = FirstBadSteps(), []
        self.check_values("before the first step", *self.frozen_networks())

    @override
    def on_train_end(self) -> None:
        self.check_steps()
        self.check_values("when the fit ended")
        if self._bad_steps.skipped_all:
            raise ValueError(
                "The gradients of all steps were infinite in float16, so that none was taken; set trainer.precision:"
                " bf16-mixed or 32-true, or fit for more steps."
            )

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING:
            self.check_steps()
            self.check_values(f"after step {self._step}")

    def frozen_networks(self) -> Sequence[tuple[str, nn.Module]]:
        """What is looked at before the first step beside the module itself, with what stands before its names."""
        return []

    def check_steps(self, batch: Any = None) -> None:
        """Stops on all ranks where a step of any of them was not finite; a collective.

        Args:
            batch: of the step that has just ended, for the names of its samples.

        Raises:
            ValueError: with the first such step, and what was not finite in it.
        """
        step, names = self._bad_steps.earliest()
        if _smallest_of_ranks(step, self.device) == NEVER:
            return
        is_now = step == self._step
        found = BadStep(step, names, bad_tensor([("", self)], gradients=is_now), bad_samples(batch) if is_now else [])
        of_ranks = [bad for bad in gather_over_ranks(found) if bad.step < NEVER]
        first = [bad for bad in of_ranks if bad.step == min(other.step for other in of_ranks)]
        step, keys = first[0].step, [key for bad in first for key in bad.keys]
        what = list(dict.fromkeys(name for bad in first for name in [*bad.names, *filter(None, [bad.tensor])]))
        what = [name for name in what if name != "the loss" or "train/loss" not in what]
        epoch = next((number for begun, number in reversed(self._epochs) if begun <= step), 0)
        of_samples = f" (samples with such values: {', '.join(keys[:3])})" * bool(keys)
        raise ValueError(
            f"Step {step}, in epoch {epoch}: NaN or infinity in {', '.join(what)}{of_samples}; {self._remedy()}"
        )

    def check_values(self, when: str, *others: tuple[str, nn.Module], across_ranks: bool = True) -> None:
        """Refuses parameters and buffers that are not finite.

        Args:
            when: they are looked at, for the message.
            others: further modules to look at, each with what stands before its names.
            across_ranks: whether all ranks ask together, as a collective.

        Raises:
            ValueError: with the name of the first.
        """
        found: str | None = bad_tensor([("", self), *others])
        if across_ranks and _smallest_of_ranks(NEVER if found is None else 0, self.device) != NEVER:
            found = next(filter(None, gather_over_ranks(found)))
        if found is not None:
            raise ValueError(f"{found} holds NaN or infinity {when}; {self._remedy()}")

    def _remedy(self) -> str:
        last = None if self._trainer is None else newest_whole(self.trainer.default_root_dir, lambda _: None)
        goes_on = f"go on from {last} by --ckpt_path auto" if last else "begin again by --overwrite true"
        return (
            "nothing is written or exported of it; check the data and the weights, or lower"
            f" model.init_args.optimizer.init_args.lr, and {goes_on}."
        )


def largest_of(tensors: Sequence[Tensor]) -> Tensor:
    """() the largest magnitude, on the tensors' device; NaN where there is one."""
    if any(tensor.device.type != "cpu" for tensor in tensors):
        return get_total_norm(tensors, norm_type=torch.inf)
    # On a CPU, torch's norm of infinite order takes several times as long as reading the numbers does.
    bounds = [bound for tensor in tensors if tensor.numel() for bound in torch.aminmax(tensor)]
    return torch.stack(bounds).abs().max() if bounds else torch.zeros(())


def in_whole_blocks(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same numbers in fewer tensors: those that share a block of memory, and fill it, as one."""
    blocks: dict[int, list[Tensor]] = {}
    for tensor in tensors:
        blocks.setdefault(tensor.untyped_storage().data_ptr(), []).append(tensor)
    found: list[Tensor] = []
    for parts in blocks.values():
        count = parts[0].untyped_storage().nbytes() // parts[0].element_size()
        fill_it = len(parts) > 1 and sum(part.numel() for part in parts) == count
        found += [parts[0].as_strided((count,), (1,), 0)] if fill_it else parts
    return found


class BadStep(NamedTuple):
    """What one rank knows of its first step that was not finite."""

    step: int
    names: list[str]
    tensor: str | None
    keys: list[str]


def _smallest_of_ranks(value: int, device: torch.device) -> int:
    if world_size() == 1:
        return value
    number = torch.tensor(value, device=device)
    dist.all_reduce(number, dist.ReduceOp.MIN)
    return int(number)


def bad_tensor(modules: Sequence[tuple[str, nn.Module]], *, gradients: bool = False) -> str | None:
    """Name of the first parameter that holds NaN or infinity, or buffer that holds NaN; None where there is none.

    Infinity has a meaning in some buffers, such as the masks of attention.

    Args:
        modules: to be looked at, each with what stands before the names of its tensors.
        gradients: whether gradients are looked at too.
    """
    named = [item for prefix, module in modules for item in _flags(prefix, module, gradients=gradients)]
    if not named:
        return None
    by_device: dict[torch.device, list[tuple[str, Tensor]]] = {}
    for name, flag in named:
        by_device.setdefault(flag.device, []).append((name, flag))
    bad = {name for of in by_device.values() for name in _raised(of)}
    return next((name for name, _ in named if name in bad), None)


def _raised(named: Sequence[tuple[str, Tensor]]) -> Iterator[str]:
    flags = torch.stack([flag for _, flag in named]).tolist()
    return (name for (name, _), flag in zip(named, flags, strict=True) if flag)


@torch.no_grad()
def _flags(prefix: str, module: nn.Module, *, gradients: bool) -> Iterator[tuple[str, Tensor]]:
    """() bool of each floating-point tensor: whether it is bad."""
    for name, value in module.named_parameters():
        if value.is_floating_point() and value.numel():
            yield f"{prefix}{name}", ~value.isfinite().all()
        if gradients and value.grad is not None:
            yield f"the gradient of {prefix}{name}", ~value.grad.isfinite().all()
    for name, buffer in module.named_buffers():
        if buffer.is_floating_point() and buffer.numel():
            yield f"{prefix}{name}", buffer.isnan().any()


def bad_samples(batch: Any) -> list[str]:
    """Keys of a batch's samples whose images, features or logits are not finite."""
    if not isinstance(batch, Mapping) or "key" not in batch:
        return []
    keys: Sequence[Any] = batch["key"]
    tensors = [batch[name] for name in ("image", "features", "logits") if isinstance(batch.get(name), Tensor)]
    rows = {
        int(row) for value in tensors if len(value) for row in (~value.flatten(1).isfinite().all(1)).nonzero().flatten()
    }
    return [str(keys[row]) for row in sorted(rows) if row < len(keys)]
