"""The Python and YAML blocks of the pages, and the commands of those pages that are run as they stand."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from tests.helpers.doc_blocks import ROOT, Block, all_blocks, blocks_of, commands_of
from tests.helpers.doc_commands import made_by, run
from tests.helpers.doc_names import names_of
from tests.helpers.doc_yaml import check_yaml
from tests.test_docs_commands import ELSEWHERE, RUN

OF_EXAMPLES = "CONTRIBUTING.md"
"""Whose blocks that begin with a file's path are written there and tried by tests/test_contributing.py."""

NOT_RUN = {"wandb:ENTITY": "needs an account; tests/vitrine/explainers/test_wandb_artifact.py tries it with a stand-in"}
"""What a Python block may hold that is not run here, and why; such a block is compiled alone."""
NEEDS = {"import quantus": "quantus", "export_onnx": "onnxscript", "import onnxruntime": "onnxruntime"}
"""Packages that a block needs, which not every environment of the tests has; without them it is compiled alone."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, class_folder: Path, flower_shards: Path) -> Iterator[Path]:
    """A folder like a clone of somebody who has pictures: what the pages' commands and blocks find and leave."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("configs", "vitrine", "experiments"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "my_images").symlink_to(class_folder)
    shutil.copytree(class_folder / "test" / "ant", folder / "holiday_pictures")
    Image.new("RGB", (60, 40), "orange").save(folder / "holiday_pictures" / "cat.jpg")
    (folder / "data").mkdir()
    (folder / "data" / "an8flower-small").symlink_to(flower_shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["train.py"])
        patch.setenv("TORCH_HOME", str(folder / "torch"))
        for network in ("resnet18", "mobilenet_v2"):
            keep_stand_in(network)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def keep_stand_in(network: str) -> None:
    """Random weights where torchvision keeps those that it has fetched."""
    torch.manual_seed(0)
    url = torchvision.models.get_model_weights(network)["DEFAULT"].url
    path = Path(os.environ["TORCH_HOME"], "hub", "checkpoints", Path(url).name)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(torchvision.models.get_model(network).state_dict(), path)


@pytest.fixture(scope="module")
def ran(clone: Path) -> Path:
    """The folder after the commands of the pages whose commands are run as they stand, one page after the other."""
    for page in RUN:
        for block in blocks_of(ROOT / page):
            for command in commands_of(block, clone) if block.language == "bash" else []:
                run_command(command)
    return clone


def run_command(command: list[str]) -> None:
    """Runs a command; of ``make`` those of the target's recipe that are the project's."""
    if command[0] == "make":
        for target in command[1:]:
            for one in made_by(target):
                run(one)
    elif command[0] not in ELSEWHERE:
        run(command)


PYTHON_PAGES = list(dict.fromkeys(block.page for block in all_blocks("python") if block.page != OF_EXAMPLES))


@pytest.mark.parametrize("page", PYTHON_PAGES)
def test_python_blocks_run_one_after_the_other(page: str, clone: Path, request: pytest.FixtureRequest) -> None:
    if page in RUN:  # their blocks take what the commands have left
        request.getfixturevalue("ran")
    names = names_of(page)
    for block in blocks_of(ROOT / page):
        if block.language == "python":
            # Behind as many lines as stand before it, so that a traceback shows where in the page it is.
            code = compile("\n" * block.line + block.text, page, "exec")
            needed = [module for part, module in NEEDS.items() if part in block.text]
            installed = all(importlib.util.find_spec(module) is not None for module in needed)
            if installed and not any(part in block.text for part in NOT_RUN):
                exec(code, names)  # noqa: S102


def test_python_blocks_of_examples_name_their_file() -> None:
    assert [block.place for block in all_blocks("python") if block.page == OF_EXAMPLES and block.text[:2] != "# "] == []


YAML = [block for block in all_blocks("yaml") if not (block.page == OF_EXAMPLES and block.text[:2] == "# ")]


@pytest.mark.parametrize("block", YAML, ids=[block.place for block in YAML])
def test_yaml_blocks_are_read_as_what_they_are(block: Block, clone: Path) -> None:
    check_yaml(block, clone)
