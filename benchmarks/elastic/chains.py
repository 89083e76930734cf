"""Chains of processes that are killed and go on, and what they trained on."""

import json
import os
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.elastic.process import KINDS, Kill, Plan
from benchmarks.small_runs import digest, exported_weights, write_config


@dataclass(frozen=True)
class Way:
    """How a process trains: ranks, workers a rank, and images a rank."""

    ranks: int = 1
    workers: int = 0
    batch: int = 8

    def arguments(self) -> list[str]:
        """As ``train.py`` takes them."""
        return [
            f"--trainer.devices={self.ranks}",
            f"--trainer.strategy={'ddp' if self.ranks > 1 else 'auto'}",
            f"--data.init_args.loading.num_workers={self.workers}",
            f"--data.init_args.loading.batch_size={self.batch}",
        ]


@dataclass(frozen=True)
class Settings:
    """What all chains share.

    Args:
        folder: of the runs.
        shards: that are trained on.
        epochs: of a fit.
        every: optimiser steps between checkpoints.
        timeout: seconds of a process.
    """

    folder: Path
    shards: Path
    epochs: int = 3
    every: int = 2
    timeout: float = 300


@dataclass
class Chain:
    """A fit in one or more processes.

    Args:
        module: its name.
        folder: of its processes; the run's own is ``run`` in it.
        kills: those that ended a process, in their order.
        codes: exit codes of these processes.
        ways: how each process trained, the last one too.
        error: the last line of a process that ended otherwise.
    """

    module: str
    folder: Path
    kills: list[Kill] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    ways: list[Way] = field(default_factory=list)
    error: str = ""

    @property
    def digest(self) -> str:
        """Of what it exported."""
        return digest(exported_weights(self.folder / "run"))

    def keys(self) -> dict[int, Counter[str]]:
        """By epoch, how often each sample was trained on by what led to the end."""
        return keys_of_lineage(records(self.folder / "records"))


def records(folder: Path) -> list[list[dict[str, Any]]]:
    """Batches of all ranks by attempt, in their order."""
    attempts: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_text(encoding="utf-8").splitlines()
        attempts[path.name.partition("-")[0]] += [json.loads(line) for line in lines if line.endswith("}")]
    return [attempts[name] for name in sorted(attempts)]


def keys_of_lineage(attempts: Iterable[list[dict[str, Any]]]) -> dict[int, Counter[str]]:
    """By epoch, how often each sample was trained on, without the batches that a later attempt trained anew.

    Args:
        attempts: the batches of each process, with ``epoch``, ``step`` and ``keys``.
    """
    lineage: list[dict[str, Any]] = []
    for batches in attempts:
        if batches:
            first = min(batch["step"] for batch in batches)
            lineage = [batch for batch in lineage if batch["step"] < first] + batches
    found: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for batch in lineage:
        found[batch["epoch"]].update(batch["keys"])
    return dict(found)


def repeats_and_gaps(found: Mapping[int, Counter[str]], expected: Mapping[int, Counter[str]]) -> tuple[int, int]:
    """Samples that were trained on too often, and that were left out, over all epochs."""
    epochs = set(found) | set(expected)
    repeated = sum((found.get(e, Counter()) - expected.get(e, Counter())).total() for e in epochs)
    lacking = sum((expected.get(e, Counter()) - found.get(e, Counter())).total() for e in epochs)
    return repeated, lacking


def run_chain(
    module: str, name: str, settings: Settings, ways: Iterable[Way], kills: int, steps: int, seed: int
) -> Chain:
    """Fits a module in processes of which so many are killed.

    Args:
        module: its name.
        name: of the chain.
        settings: shared ones.
        ways: how each process in turn trains; the last one for all that follow.
        kills: how many.
        steps: optimiser steps of the whole fit.
        seed: of the kills.
    """
    folder = settings.folder / f"{module}-{name}"
    (folder / "records").mkdir(parents=True)
    chain, generator, planned = Chain(module, folder), random.Random(seed), list(ways)  # noqa: S311
    last_step = 0
    for attempt in range(kills + 1):
        way = planned[min(attempt, len(planned) - 1)]
        kill = Kill()
        if attempt < kills and last_step < steps:
            last_step = generator.randint(last_step + 1, steps)
            delay = generator.choice((0.0, generator.uniform(0, 0.05)))
            kill = Kill(last_step, generator.choice(KINDS), delay, generator.randrange(way.ranks))
        code, output = run_process(chain, attempt, kill, way, settings)
        chain.ways.append(way)
        if not code:  # it came to its end, perhaps before a signal that was to come a moment later
            break
        if not kill.step or not _reached(folder / "records", attempt, kill):
            chain.error = next((line for line in reversed(output.splitlines()) if line.strip()), "?")
            break
        chain.kills.append(kill)
        chain.codes.append(code)
    return chain


def _reached(folder: Path, attempt: int, kill: Kill) -> bool:
    """Whether an attempt came to the step at which it was to be killed."""
    path = folder / f"{attempt:03d}-{kill.rank}.jsonl"
    return path.is_file() and any(
        json.loads(line)["step"] >= kill.step
        for line in path.read_text(encoding="utf-8").splitlines()
        if line.endswith("}")
    )


def run_process(chain: Chain, attempt: int, kill: Kill, way: Way, settings: Settings) -> tuple[int, str]:
    """Exit code and output of one process, or of the ranks of one."""
    folder = chain.folder
    plan = Plan(str(folder / "records"), attempt, kill).write(folder / f"plan-{attempt}.json")
    features = settings.folder / "features"
    config = write_config(folder / "config.yaml", chain.module, settings.shards, features, epochs=settings.epochs)
    launcher = ["torch.distributed.run", "--standalone", f"--nproc-per-node={way.ranks}", "-m"] if way.ranks > 1 else []
    command = [
        sys.executable, "-m", *launcher, "benchmarks.elastic.process", str(plan), "fit", "-c", str(config),
        f"--trainer.default_root_dir={folder / 'run'}", f"--checkpoint.every_n_steps={settings.every}",
        "--ckpt_path=auto", *way.arguments(),
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    try:
        done = subprocess.run(  # noqa: S603 - Python itself
            command, env=environment, capture_output=True, text=True, timeout=settings.timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return 1, "no end in time"
    (folder / f"output-{attempt}.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return done.returncode, done.stderr
