"""Runs as a cluster has them: started by torchrun, killed and gone on with."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.helpers.commands import QUICKSTART, ROOT, SMALL, SMALL_SRAE
from vitrine.core.checkpoint_files import checkpoint_files, damage_of, last_checkpoint

LONG = ["--trainer.max_epochs=100000", "--trainer.check_val_every_n_epoch=3", "--checkpoint.every_n_steps=2"]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}


@pytest.fixture
def start(workplace: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script in a process group of its own, which is killed at the end."""
    started: list[subprocess.Popen[str]] = []

    def call(*command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=workplace, env=os.environ | ENVIRONMENT, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield call
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for_newer(path: Path, than: int = 0) -> int:
    """The time of a file that is newer than a time, once it is there."""
    end = time.monotonic() + 120
    while not path.exists() or path.stat().st_mtime_ns <= than:
        assert time.monotonic() < end
        time.sleep(0.05)
    return path.stat().st_mtime_ns


def test_a_killed_fit_goes_on_and_stops_with_its_job(
    workplace: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """With worker processes, which a scheduler signals like all others of the job."""
    fit = [str(ROOT / "train.py"), *QUICKSTART, *SMALL, *SMALL_SRAE, *LONG, "--ckpt_path=auto"]
    fit += ["--data.init_args.loading.num_workers=2", "--data.init_args.features.cache=false"]
    last = last_checkpoint(workplace / "runs" / "quickstart")
    first = start(*fit)
    written = wait_for_newer(last)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert damage_of(last) is None
    second = start(*fit)
    wait_for_newer(last, written)
    os.killpg(second.pid, signal.SIGTERM)
    _, told = second.communicate(timeout=60)
    assert second.returncode == 143
    assert "--ckpt_path auto: goes on from runs/quickstart/checkpoints/" in told
    assert "Stopped by SIGTERM after step" in told
    assert "Traceback" not in told
    folder = workplace / "runs" / "quickstart"
    assert not [path for path in folder.rglob("*") if "partial" in path.name or path.name == ".lock"]
    assert len(checkpoint_files(folder)) == 2


def test_spawned_ranks_fit_what_one_rank_fits(workplace: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    options = [option for option in SMALL if "devices" not in option]
    fit = [str(ROOT / "train.py"), *QUICKSTART, *options, *SMALL_SRAE, "--model.init_args.optimizer.class_path=SGD"]
    explainers = []
    for ranks, strategy, batch in ((1, "auto", 8), (2, "ddp_spawn", 4)):
        folder = workplace / strategy
        process = start(
            *fit, f"--trainer.devices={ranks}", f"--trainer.strategy={strategy}", f"--trainer.default_root_dir={folder}",
            f"--data.init_args.loading.batch_size={batch}",
        )  # fmt: skip
        _, told = process.communicate(timeout=240)
        assert process.returncode == 0, told
        assert not (folder / ".lock").exists()
        explainers.append(load_file(folder / "explainer" / "explainer.safetensors"))
    for name, value in explainers[0].items():
        torch.testing.assert_close(explainers[1][name], value, rtol=1e-4, atol=1e-5)


def test_torchrun_starts_and_stops_the_ranks_of_a_fit(
    workplace: Path, start: Callable[..., subprocess.Popen[str]], free_port: Callable[[], int]
) -> None:
    options = [option for option in SMALL if "devices" not in option]
    run = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}", str(ROOT / "train.py")]
    process = start(*run, *QUICKSTART, *options, *SMALL_SRAE, *LONG, "--trainer.devices=2", "--trainer.strategy=ddp")
    last = last_checkpoint(workplace / "runs" / "quickstart")
    wait_for_newer(last)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=90)
    assert process.returncode != 0
    assert told.count("Stopped by SIGTERM after step") == 1
    assert torch.load(last, weights_only=False)["global_step"] > 0
    assert not (workplace / "runs" / "quickstart" / ".lock").exists()
