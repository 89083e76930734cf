"""Launching: the strategies and cluster environments of Lightning under which a run is right."""

import re
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch.multiprocessing.spawn import ProcessRaisedException

_MORE = ("", "_find_unused_parameters_true", "_find_unused_parameters_false")
STRATEGIES = ("auto", "single_device", *(f"{start}{more}" for start in ("ddp", "ddp_spawn") for more in _MORE))
CLASSES = ("DDPStrategy", "SingleDeviceStrategy")
STARTS = ("popen", "spawn")
RAISED = re.compile(r"^(?:[\w.]+\.)?(\w+): (.*)", re.MULTILINE)
"""The last line of a traceback: the error's class and its message."""


def check_strategy(strategy: Any) -> None:
    """Refuses strategies that share a module out over devices, and those that fork this process.

    Heads are small beside the frozen backbone, which each device holds whole; and a process that is forked while threads
    run may stand still for ever.

    Args:
        strategy: ``trainer.strategy`` of the configuration: a name, or a class with arguments.

    Raises:
        ValueError: for another one than ddp or a single device.
    """
    name = strategy if isinstance(strategy, str) else str(strategy.get("class_path", "")).rpartition(".")[2]
    arguments = {} if isinstance(strategy, str) else strategy.get("init_args") or {}
    start = arguments.get("start_method", "popen")
    if name not in (STRATEGIES if isinstance(strategy, str) else CLASSES):
        raise ValueError(f"trainer.strategy is {name!r}; give 'ddp' for several devices or nodes, or 'auto'.")
    if start not in STARTS:
        raise ValueError(f"trainer.strategy.init_args.start_method is {start!r}; give 'popen', as strategy 'ddp' does.")


def sentence_of_spawned(error: ProcessRaisedException, kinds: Collection[type[Exception]]) -> str | None:
    """The message of a user's error in a spawned process, whose traceback is all that its parent is given.

    Args:
        error: what the parent raises.
        kinds: classes of users' errors; those derived from them count too where they are imported.

    Returns:
        None for an error of another kind.
    """
    raised = RAISED.findall(str(error))
    if not raised:
        return None
    name, message = raised[-1]
    users = {kind.__name__ for kind in kinds} | {derived.__name__ for kind in kinds for derived in _derived(kind)}
    return str(message) if name in users else None


def _derived(kind: type[Exception]) -> Iterator[type[Exception]]:
    for derived in kind.__subclasses__():
        yield derived
        yield from _derived(derived)


def slurm_plugins(plugins: Any) -> Sequence[Any]:
    """Plugins of a trainer, with SLURM's environment under SLURM, without Lightning's own way of requeueing.

    That one writes a checkpoint within a batch, from which a run does not go on exactly, and ends with 0.

    Args:
        plugins: ``trainer.plugins``: one, several or None.
    """
    given = list(plugins) if isinstance(plugins, Sequence) and not isinstance(plugins, str) else [plugins]
    given = [plugin for plugin in given if plugin is not None]
    has_environment = any(isinstance(plugin, ClusterEnvironment) for plugin in given)
    if has_environment or TorchElasticEnvironment.detect() or not SLURMEnvironment.detect():
        return given
    return [*given, SLURMEnvironment(auto_requeue=False)]
