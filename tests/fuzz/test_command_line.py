"""Bad values of every number of a configuration, and bad words, on the command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.fuzz.bad_calls import fault_of, files_under
from tests.helpers.commands import QUICKSTART, SMALL, SMALL_IMAGES, SMALL_SRAE, run, the_error

SHORT = [*QUICKSTART, *SMALL, *SMALL_SRAE, *SMALL_IMAGES]

WORDS = [
    ["fit", "test"],
    ["fitt"],
    [],
    ["fit", "--ckpt_path"],
    ["fit", "-c"],
    ["fit", "-c", "."],
    ["fit", "-c", "train.py"],
    [*SHORT, "--ckpt_path=las"],
    [*SHORT, "--ckpt_path=nowhere.ckpt"],
    [*SHORT, "--overwrite=maybe"],
    [*SHORT, "--model=3"],
    [*SHORT, "--model=os:system"],
    [*SHORT, "--model.init_args.backbone.name=os:system"],
    [*SHORT, "--model.init_args.backbone.name=subprocess:Popen"],
    [*SHORT, "--data=[]"],
    [*SHORT, "--trainer.callbacks+=os.system"],
    [*SHORT, "--trainer=null"],
    [*SHORT, "--seed_everything=-1"],
    [*SHORT, "--seed_everything=many"],
    [*SHORT, "--trainer.precision=8"],
    [*SHORT, "--trainer.default_root_dir=/dev/null/runs"],
]


def numbers_in(config: Any, path: str = "") -> Iterator[str]:
    """Dotted keys of all numbers in a configuration."""
    entries = config.items() if isinstance(config, dict) else ()
    for key, value in entries:
        if isinstance(value, dict):
            yield from numbers_in(value, f"{path}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{path}{key}"


def number_keys(capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit):
        run(*SHORT, "--print_config")
    config = OmegaConf.to_container(OmegaConf.create(capsys.readouterr().out))
    return list(numbers_in(config))


def fault_of_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str | None:
    """What is wrong with how a bad command ends: not by code 2 and one sentence."""

    def call() -> None:
        try:
            run(*arguments)
        except SystemExit as stopped:
            told = the_error(capsys.readouterr().err)
            if stopped.code == 2:
                raise ValueError(told) from stopped

    capsys.readouterr()
    return fault_of(call)


def test_bad_values_end_with_one_sentence_and_leave_no_file(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = WORDS + [[*SHORT, f"--{key}=.nan"] for key in number_keys(capsys)]
    before = files_under(workplace)
    found = {" ".join(command[len(SHORT) :] or command): fault_of_command(command, capsys) for command in commands}
    assert {name: fault for name, fault in found.items() if fault is not None} == {}
    assert files_under(workplace) == before
    assert len(commands) > 50
