"""One process of the ranks that `benchmarks.ddp` starts by torchrun: fits and tests modules one after the other."""

import argparse
import atexit
import contextlib
import io
import json
import math
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

import train
from benchmarks.small_runs import CLASSES, MODULES, WITHOUT_FIT, extra_callback, write_config
from vitrine.core.distributed import leave_process_group


class Traffic:
    """Bytes that this rank gives to collectives: gradients by DistributedDataParallel, and all others."""

    def __init__(self) -> None:
        self.gradients = 0
        self.others = 0  # with the gradients, which the hook reduces from Python

    def hook(self, group: dist.ProcessGroup, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
        """A communication hook that counts, and reduces as without it."""
        self.gradients += bucket.buffer().nbytes
        return allreduce_hook(group, bucket)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Counts the collectives that are called from Python within."""
        saved = {name: getattr(dist, name) for name in ("all_reduce", "all_gather", "broadcast")}
        for name, function in saved.items():
            setattr(dist, name, self._counting(function))
        try:
            yield
        finally:
            for name, function in saved.items():
                setattr(dist, name, function)

    def _counting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            tensor = next((value for value in reversed(args) if isinstance(value, torch.Tensor)), None)
            self.others += 0 if tensor is None else tensor.nbytes
            return function(*args, **kwargs)

        return call


class Clock(pl.Callback):
    """Times a hand-written loop over the training batches, then the trainer's own; counts the traffic of the latter.

    Both do the module's own steps with its optimizer. The hand-written one logs nothing and calls no hook.

    Args:
        epochs: of the hand-written loop.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs, self.traffic = epochs, Traffic()
        self.loop_seconds = self.fit_seconds = 0.0
        self.loop_steps = self.fit_steps = self.parameter_bytes = 0
        self.stack = contextlib.ExitStack()
        self.began = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Goes through the batches by hand."""
        trained = [value for value in pl_module.parameters() if value.requires_grad]
        self.parameter_bytes = sum(value.numel() * value.element_size() for value in trained)
        if self.epochs and not getattr(pl_module, "one_pass", False):
            self.by_hand(trainer, pl_module)
        if isinstance(trainer.strategy.model, DistributedDataParallel):
            trainer.strategy.model.register_comm_hook(dist.group.WORLD, self.traffic.hook)

    def by_hand(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Times the loop, and puts weights and optimizers back."""
        before = {name: value.clone() for name, value in module.state_dict().items() if isinstance(value, torch.Tensor)}
        states = [optimizer.state_dict() for optimizer in trainer.optimizers]
        random_state = torch.get_rng_state()
        log = {name: module.__dict__.get(name) for name in ("log", "log_dict")}
        module.__dict__.update(log=_nothing, log_dict=_nothing)
        (optimizer,) = trainer.optimizers
        loader = trainer.datamodule.train_dataloader()  # type: ignore[attr-defined]  # the trainer's own keeps its place
        for epoch in range(self.epochs + 1):  # the first warms up
            began = time.perf_counter()
            for number, loaded in enumerate(loader):
                batch = trainer.strategy.batch_to_device(loaded, module.device)
                optimizer.zero_grad()
                loss = trainer.strategy.training_step(batch, *([number] if _takes_number(module) else []))
                trainer.strategy.backward(cast("torch.Tensor", loss), None)
                optimizer.step()
                self.loop_steps += bool(epoch)
            self.loop_seconds += (time.perf_counter() - began) * bool(epoch)
        for name, value in log.items():
            module.__dict__.pop(name) if value is None else module.__dict__.update({name: value})
        module.load_state_dict(before, strict=False)
        for one, state in zip(trainer.optimizers, states, strict=True):
            one.load_state_dict(state)
        torch.set_rng_state(random_state)

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begins to count."""
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(self.traffic.counted())
        self.began = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any, **__: Any) -> None:
        """Ends counting before validation and what comes after an epoch; its first epoch warms up."""
        if trainer.is_last_batch:
            self.stack.close()
            if trainer.current_epoch or trainer.max_epochs == 1:
                self.fit_seconds += time.perf_counter() - self.began
                self.fit_steps += int(trainer.num_training_batches)

    def figures(self, steps: int) -> dict[str, float]:
        """Steps a second of both loops, and bytes a step."""
        return {
            "loop_steps_per_s": self.loop_steps / self.loop_seconds if self.loop_seconds else 0.0,
            "fit_steps_per_s": self.fit_steps / self.fit_seconds if self.fit_seconds else 0.0,
            "gradient_bytes": self.traffic.gradients / max(steps, 1),
            "other_bytes": (self.traffic.others - self.traffic.gradients) / max(steps, 1),
            "parameter_bytes": float(self.parameter_bytes),
        }


def _nothing(*_: Any, **__: Any) -> None:
    """Stands in for logging."""


def _takes_number(module: pl.LightningModule) -> bool:
    return "batch_idx" in module.training_step.__code__.co_varnames


def run(module: str, arguments: argparse.Namespace, workers: int) -> dict[str, Any]:
    """Fits and tests a module; figures of the clock."""
    ranks = dist.get_world_size() if dist.is_initialized() else arguments.ranks
    folder = arguments.folder / f"{module}-{ranks}-{workers}"
    config = write_config(
        folder / "config.yaml", module, arguments.shards, arguments.folder / "features", epochs=arguments.epochs,
        stream=arguments.stream,
    )  # fmt: skip
    common = [
        "-c", str(config), f"--trainer.default_root_dir={folder}", f"--trainer.devices={ranks}",
        f"--trainer.strategy={'ddp' if ranks > 1 else 'auto'}", f"--data.init_args.loading.num_workers={workers}",
        f"--data.init_args.loading.batch_size={max(arguments.batch // ranks, 1)}",
    ]  # fmt: skip
    if "srae" in MODULES[module][1]:
        common.append(f"--model.init_args.srae.hidden={list(arguments.hidden)}")
    if module == "srae_grouped":  # the same heads in a group on any number of ranks, so that they see the same epochs
        common.append(f"--model.init_args.training.classes_at_once={math.ceil(CLASSES / ranks)}")
    clock = Clock(arguments.loop_epochs)
    figures: dict[str, float] = {}
    if module not in WITHOUT_FIT:
        with extra_callback(clock):
            cli = train.main(["fit", *common])
        figures = clock.figures(cli.trainer.global_step)
    train.main(["test", *common])
    return {"folder": str(folder), "clock": figures}


def main() -> None:
    """Runs all modules with all numbers of workers; each leaves ``outcome.json`` in its folder on rank zero."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--modules", nargs="+", required=True)
    parser.add_argument("--workers", type=int, nargs="+", required=True)
    parser.add_argument("--ranks", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--loop-epochs", type=int, required=True)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--hidden", type=int, nargs="+", required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for module in arguments.modules:
        for workers in arguments.workers:
            outcome: dict[str, Any]
            errors = io.StringIO()
            try:
                with contextlib.redirect_stderr(errors):
                    outcome = run(module, arguments, workers)
            except SystemExit:
                outcome = {"error": (errors.getvalue().strip().splitlines() or ["?"])[-1]}
            except Exception:  # noqa: BLE001 - told in the table
                outcome = {"error": traceback.format_exc()}
            if not dist.is_initialized() or dist.get_rank() == 0:
                path = arguments.folder / f"{module}-{arguments.ranks}-{workers}.json"
                path.write_text(json.dumps(outcome), encoding="utf-8")


if __name__ == "__main__":
    atexit.register(leave_process_group)
    main()
