"""YAML blocks of the pages, read as what they are excerpts of."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from experiments.reading import read_experiment
from tests.helpers.doc_blocks import ROOT, Block
from tests.helpers.doc_commands import read
from vitrine.backbones.networks import BackboneOptions
from vitrine.explainers.names import parse_names
from vitrine.sweep.settings import settings_of
from vitrine.sweep.sweep_file import read_sweep

OF_RUN = {"trainer", "model", "data", "checkpoint", "signals", "seed_everything"}
"""Top-level keys of a configuration of a run."""


def check_yaml(block: Block, folder: Path) -> None:
    """Reads a block as options of a backbone, a configuration over the quickstart's, a sweep, names, or an experiment."""
    keys: dict[str, Any] = yaml.safe_load(block.text)
    if set(keys) == {"backbone"}:
        BackboneOptions.from_dict(keys["backbone"])
    elif set(keys) <= OF_RUN:
        path = folder / "block.yaml"
        path.write_text(block.text, encoding="utf-8")
        read(["python", "train.py", "test", "-c", "configs/quickstart.yaml", "-c", str(path)])
    elif {"method", "parameters"} <= set(keys):
        path = folder / "sweep.yaml"
        path.write_text(block.text, encoding="utf-8")
        assert settings_of(read_sweep(path))
    elif all(isinstance(value, list) and all(isinstance(one, str) for one in value) for value in keys.values()):
        check_names(block, folder)
    else:
        check_experiment(block, folder)


def check_names(block: Block, folder: Path) -> None:
    """Reads a block as a person's names of heatmaps."""
    path = folder / "names.yaml"
    path.write_text(block.text, encoding="utf-8")
    assert parse_names(path)


def check_experiment(block: Block, folder: Path) -> None:
    """Reads a block as an experiment, in a copy of the folder of the files that it stands over."""
    beside = folder / "qi2018"
    shutil.copytree(ROOT / "experiments" / "qi2018", beside, dirs_exist_ok=True)
    path = beside / "block_of_a_page.yaml"
    path.write_text(block.text, encoding="utf-8")
    assert read_experiment(path)
