"""Strategies that are refused before anything starts, and SLURM's environment without Lightning's requeueing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from torch.multiprocessing.spawn import ProcessRaisedException

import train
from callbacks.launch import check_strategy, sentence_of_spawned, slurm_plugins
from tests.helpers.commands import QUICKSTART, SMALL, SMALL_SRAE, refusal, run


@pytest.mark.parametrize(
    "strategy",
    [
        "fsdp", "deepspeed_stage_2", "ddp_fork", "dp", "FSDPStrategy", "xla", "ddp_notebook",
        "{class_path: DDPStrategy, init_args: {start_method: fork}}",
    ],
)  # fmt: skip
def test_strategies_that_cannot_work_are_refused(
    strategy: str, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refusal(capsys, *QUICKSTART, *SMALL, *SMALL_SRAE, f"--trainer.strategy={strategy}")
    assert "trainer.strategy" in told
    assert "give '" in told
    assert not (workplace / "runs").exists()


@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn", "ddp_spawn_find_unused_parameters_true", "auto"])
def test_strategies_that_work_are_taken(strategy: str) -> None:
    check_strategy(strategy)


def spawned(last_line: str) -> ProcessRaisedException:
    return ProcessRaisedException(
        f"\n\n-- Process 1 terminated:\nTraceback …\n  File\nKeyError: 'a'\n\n{last_line}\n", 1, 2
    )


def test_the_sentence_of_a_spawned_process() -> None:
    kinds = (ValueError, FileNotFoundError)
    assert sentence_of_spawned(spawned("FileNotFoundError: a holds no shards; make: them."), kinds) == (
        "a holds no shards; make: them."
    )
    assert sentence_of_spawned(spawned("datamodules.samples.SampleError: b is broken."), kinds) == "b is broken."
    assert sentence_of_spawned(spawned("RuntimeError: c"), kinds) is None
    assert sentence_of_spawned(ProcessRaisedException("", 1, 2), kinds) is None


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of a task that srun has started, the only one of its job."""
    values = {"JOB_ID": "4711", "JOB_NAME": "vitrine", "NTASKS": "1", "NTASKS_PER_NODE": "1", "NNODES": "1"}
    places = {"PROCID": "0", "LOCALID": "0", "NODEID": "0", "NODELIST": "localhost"}
    for name, value in (values | places).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    return monkeypatch


def test_lightning_does_not_requeue(slurm: pytest.MonkeyPatch) -> None:
    (plugin,) = slurm_plugins(None)
    assert isinstance(plugin, SLURMEnvironment)
    assert not plugin.auto_requeue
    own = LightningEnvironment()
    assert list(slurm_plugins([own])) == [own]
    slurm.setenv("SLURM_JOB_NAME", "interactive")
    assert list(slurm_plugins(None)) == []


def test_a_job_runs_with_the_configuration_for_slurm(
    workplace: Path, slurm: pytest.MonkeyPatch, free_port: Callable[[], int]
) -> None:
    slurm.setenv("MASTER_PORT", str(free_port()))
    options = [option for option in SMALL if "devices" not in option]
    cli = run(*QUICKSTART, *options, *SMALL_SRAE, "-c", "configs/trainer/slurm.yaml", "--ckpt_path=auto")
    assert isinstance(cli.trainer.strategy.cluster_environment, SLURMEnvironment)  # type: ignore[attr-defined]
    assert (cli.trainer.world_size, cli.trainer.num_nodes, cli.trainer.current_epoch) == (1, 1, 2)
    slurm.setenv("SLURM_NNODES", "2")
    config = run_print_config(cli)
    assert config == 2


def run_print_config(cli: train.TrainCLI) -> int:
    """Nodes that the configuration takes from SLURM."""
    parser = cli._parser("fit")
    return int(
        parser.parse_args(["-c", "configs/trainer/slurm.yaml", "-c", "configs/quickstart.yaml"]).trainer.num_nodes
    )
