"""Sweep files: those that are shipped are W&B's own format, and what is not is refused with the key."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

import train
from vitrine.sweep.settings import settings_of
from vitrine.sweep.sweep_file import read_sweep

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
NUMBER = {"type": "number"}
PARAMETER = {
    "oneOf": [
        {"properties": {"values": {"type": "array", "minItems": 1}}, "required": ["values"], "additionalProperties": False},
        {"properties": {"value": {}}, "required": ["value"], "additionalProperties": False},
        {
            "properties": {
                "min": NUMBER, "max": NUMBER,
                "distribution": {"enum": ["uniform", "log_uniform_values", "int_uniform", "q_uniform"]},
            },
            "required": ["min", "max"],
            "additionalProperties": False,
        },
    ]
}  # fmt: skip
SCHEMA = {
    "type": "object",
    "properties": {
        "program": {"type": "string"},
        "method": {"enum": ["grid", "random", "bayes"]},
        "metric": {
            "properties": {"name": {"type": "string"}, "goal": {"enum": ["minimize", "maximize"]}},
            "required": ["name"],
            "additionalProperties": False,
        },
        "parameters": {
            "minProperties": 1,
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_.-]*$"},
            "additionalProperties": PARAMETER,
        },
        "command": {"type": "array", "items": {"type": "string"}},
        "run_cap": {"type": "integer", "minimum": 1},
    },
    "required": ["method", "parameters", "metric"],
    "additionalProperties": False,
}
"""The part of W&B's schema of sweeps that the shipped files use."""


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_are_in_wandbs_format_and_can_be_run_here(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    jsonschema.validate(content, SCHEMA)
    assert "${args}" in content["command"]
    assert settings_of(read_sweep(path), count=3)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_options_of_shipped_files_are_options_of_the_run(
    path: Path, workplace: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = read_sweep(path)
    (setting,) = settings_of(sweep, count=1)
    words = [word for word in sweep.command if not word.startswith("${")]
    with pytest.raises(SystemExit) as stopped:
        train.main([*words, *(f"--{name}={value}" for name, value in setting.items()), "--print_config"])
    assert stopped.value.code == 0
    config: Any = yaml.safe_load(capsys.readouterr().out)
    for name, value in setting.items():
        found = config
        for part in name.split("."):
            found = found[part]
        assert found == pytest.approx(value)


def written(folder: Path, content: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("- a", "not a YAML file of keys"),
        ("a: [", "not a YAML file"),
        ("metod: grid\nparameters: {a: {value: 1}}", "metod.*did you mean method"),
        ("method: gird\nparameters: {a: {value: 1}}", "method.*'gird'.*grid, random, bayes"),
        ("metric: {name: a, goal: max}\nparameters: {a: {value: 1}}", "metric.goal.*'max'.*maximize"),
        ("method: grid", "varies nothing.*parameters"),
        ("parameters: {a: 3}", r"parameters.a.*is 3.*values"),
        ("parameters: [a]", "parameters of.*keys and values"),
        ("command: fit\nparameters: {a: {value: 1}}", "command of.*a list"),
        ("run_cap: '3'\nparameters: {a: {value: 1}}", "run_cap of.*'3'.*whole number"),
        ("parameters: {1: {value: 1}}", "the key 1; give the dotted name"),
    ],
)
def test_what_is_wrong_is_told(content: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        read_sweep(written(tmp_path, content))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gone\.yaml does not exist.*configs/sweeps"):
        read_sweep(tmp_path / "gone.yaml")


def test_what_is_left_out_has_wandbs_defaults(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, "parameters: {a: {value: 1}}"))
    assert (sweep.method, sweep.smaller, sweep.program) == ("grid", True, "train.py")
    assert list(sweep.command) == ["${env}", "${interpreter}", "${program}", "${args}"]
