"""The command that describes networks, and the one that embeds class names."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.helpers.hugging_face_folders import saved
from vitrine.explainers.describe import main

FLOWERS = "vitrine.data.an8flower.network:FlowerNet"
SIZES = ['{"img_size": 32, "patch_size": 8}', "depth=1", "embed_dim=24", "num_heads=2"]
TINY = ["timm:vit_tiny_patch16_224", "--arguments", *SIZES]


def test_the_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["describe", *TINY, "--num-classes", "3"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 100
    for text in (
        "VisionTransformer",
        "random, as none are given",
        "3 × 32 × 32",
        "tokens 4×4 + 1",
        "GradCAM",
        "size 32",
    ):
        assert text in shown


def test_json_of_a_network_of_this_package(capsys: pytest.CaptureFixture[str]) -> None:
    weights = Path(__file__).parents[3] / "vitrine" / "data" / "an8flower" / "flower_net.safetensors"
    assert main(["describe", FLOWERS, "--weights", str(weights), "--image-size", "32", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["defaults"]["target_layer"] in {layer["name"] for layer in found["layers"]}
    assert found["summary"]["weights"] == str(weights)
    assert found["methods"] == {}


def test_a_folder_of_hugging_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers")
    saved(tmp_path / "net", "Dinov2WithRegisters")
    assert main(["describe", f"hf:{tmp_path / 'net'}", "--image-size", "32", "--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["summary"]["classes"] == "3: ant, bee, cat"
    assert {layer["kind"] for layer in found["layers"]} >= {"map", "tokens 4×4 + 5"}  # a class token and four registers


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["describe", "resnet17"], "no classifier named 'resnet17'"),
        (["describe", "resnet18", "--image-size", "0"], "--image-size is 0; give 1 or more"),
        (["describe", "resnet18", "--arguments", "depth"], "'depth' is neither KEY=VALUE nor a JSON object"),
        (["describe", "resnet18", "--arguments", "{depth"], "{depth is no JSON"),
        (["describe", "resnet18", "--nothing"], "unrecognized arguments: --nothing"),
        (["describe", "hf:nowhere"], "nowhere does not exist"),
        (["embed", "hf:nowhere", "--out", "a.safetensors"], "no classes"),
        (["embed", "hf:nowhere", "--classes", "a", "--out", "a.safetensors"], "nowhere does not exist"),
    ],
)
def test_what_is_refused_in_one_sentence(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1


def test_it_is_a_module_that_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["vitrine.backbones", "describe", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("vitrine.backbones", run_name="__main__")
    assert stopped.value.code == 0
    assert "--image-size" in capsys.readouterr().out
