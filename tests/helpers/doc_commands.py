"""Commands of the pages, tried in this process: run on small data, or read in full by their own parsers."""

import argparse
import contextlib
import importlib
import io
import re
import runpy
import shlex
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import train
from experiments.reading import find_experiment
from tests.helpers.doc_blocks import ROOT, python_arguments

OF_LIGHTNING = ("fit", "validate", "test", "predict")
SMALL = (
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--data.init_args.loading.num_workers=0",
    "--data.init_args.preprocessing.size=64", "--data.init_args.preprocessing.resize=64",
)  # fmt: skip
"""What makes a run of the pages short, beside `FEW_EPOCHS` and `FEW_VIEWS`; nothing else is added to the lines."""
FEW_EPOCHS = ("--trainer.max_epochs=2",)
FEW_VIEWS = (
    "--views", "5", "--size", "72", "--crops", "1", "--rotations", "1", "--crop-size", "64",
    "--supersampling", "1", "--workers", "1",
)  # fmt: skip


class Accepted(BaseException):
    """A command's parser has taken all its arguments."""


def run(command: Sequence[str]) -> None:
    """Runs a command on small data."""
    module, arguments = _module_and_arguments(command)
    if module == "train":
        few = (*SMALL, *FEW_EPOCHS[arguments[0] != "fit" :]) if arguments[0] in OF_LIGHTNING else ()
        with ended_well(command):
            train.main([*arguments, *few])
        return
    few = FEW_VIEWS if module == "vitrine.an8flower" else ()
    with ended_well(command), mock.patch.object(sys, "argv", [module, *arguments, *few]):
        runpy.run_module(module, run_name="__main__")


def read(command: Sequence[str]) -> None:
    """Has a command's arguments read by its own parser, and the files and experiments that they name looked up."""
    module, arguments = _module_and_arguments(command)
    if module == "train" and arguments[0] in OF_LIGHTNING:
        with contextlib.redirect_stdout(io.StringIO()), ended_well(command):
            train.main([*arguments, "--print_config"])
        return
    if module == "experiments" and arguments[0] == "run":
        find_experiment(arguments[1])
    with ended_well(command), stopped_after_parsing(), mock.patch.object(sys, "argv", [module, *arguments]):
        runpy.run_module(module, run_name="__main__")
        raise AssertionError(f"{' '.join(command)} read no arguments")


def _module_and_arguments(command: Sequence[str]) -> tuple[str, list[str]]:
    if command[0] == "vitrine":
        return "vitrine.__main__", list(command[1:])
    words = python_arguments(command)
    if words[0] == "-m":
        name = words[1]
        is_package = hasattr(importlib.import_module(name), "__path__")
        return f"{name}.__main__" if is_package else name, words[2:]
    assert words[0].endswith(".py"), f"{' '.join(command)}: what runs is no module and no file"
    return Path(words[0]).stem, words[1:]


@contextlib.contextmanager
def ended_well(command: Sequence[str]) -> Iterator[None]:
    """Within it a command may exit with 0, or have its arguments accepted; what it does with SIGTERM ends with it."""
    errors, handler = io.StringIO(), signal.getsignal(signal.SIGTERM)
    try:
        with contextlib.redirect_stderr(errors):
            yield
    except Accepted:
        return
    except SystemExit as left:
        if left.code:
            raise AssertionError(f"{' '.join(command)} ends with {left.code}: {errors.getvalue()[-600:]}") from left
    finally:
        signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def stopped_after_parsing() -> Iterator[None]:
    """Within it a program ends where its parser has read its arguments."""
    parse = argparse.ArgumentParser.parse_args

    def parse_and_stop(self: argparse.ArgumentParser, *args: Any, **kwargs: Any) -> NoReturn:
        parse(self, *args, **kwargs)
        raise Accepted

    with mock.patch.object(argparse.ArgumentParser, "parse_args", parse_and_stop):
        yield


def made_by(target: str) -> list[list[str]]:
    """The commands of this project that a target of the Makefile runs; none for those of pytest, ruff and mypy."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    recipe = re.search(rf"^{target}:(?! export)[^\n]*\n((?:\t.*\n)*)", text, flags=re.MULTILINE)
    assert recipe is not None, f"the Makefile has no target {target}"
    lines = re.findall(r"^\t\$\(BIN\)/(python (?:train\.py|-m vitrine\.).*)$", recipe[1], flags=re.MULTILINE)
    return [shlex.split(line) for line in lines]
