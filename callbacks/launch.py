"""Launching: the strategies and cluster environments of Lightning under which a run is right."""

from collections.abc import Sequence
from typing import Any

from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

STRATEGIES = ("auto", "ddp", "ddp_find_unused_parameters_true", "ddp_find_unused_parameters_false", "single_device")
CLASSES = ("DDPStrategy", "SingleDeviceStrategy")


def check_strategy(strategy: Any) -> None:
    """Refuses strategies that share a module out over devices, and those that start ranks by copying this process.

    Heads are small beside the frozen backbone, which each device holds whole; and what is told to a process, or goes wrong in
    it, does not reach one that was copied from it as the run needs it: signals, and errors as one sentence.

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
    if start != "popen":
        raise ValueError(f"trainer.strategy.init_args.start_method is {start!r}; give 'popen', as strategy 'ddp' does.")


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
