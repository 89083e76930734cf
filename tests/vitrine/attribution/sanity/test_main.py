"""The command line of the sanity check."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from vitrine.attribution.sanity.__main__ import find_images, main

WEIGHTS = Path(__file__).parents[4] / "vitrine" / "data" / "an8flower" / "flower_net.safetensors"


@pytest.fixture
def command(class_folder: Path) -> Callable[..., list[str]]:
    def arguments(**changed: object) -> list[str]:
        options = {
            "method": "ExcitationBackprop", "network": "vitrine.data.an8flower.network:FlowerNet", "weights": WEIGHTS,
            "num-classes": 6, "images": class_folder / "test", "size": 32, "count": 3, "stages": 2,
        }  # fmt: skip
        return [text for name, value in (options | changed).items() for text in (f"--{name}", str(value))]

    return arguments


@pytest.mark.parametrize(("threshold", "code", "verdict"), [(-1.1, 1, "fails"), (1.1, 0, "passes")])
def test_the_command(
    threshold: float, code: int, verdict: str, command: Callable[..., list[str]], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "new" / "sanity.json"
    assert main([*command(threshold=threshold), "--out", str(out)]) == code
    written, shown = json.loads(out.read_text()), capsys.readouterr().out
    assert [stage["layer"] for stage in written["stages"]] == ["classifier.3", "features.0"]
    assert written["passes"] == (code == 0)
    assert written["images"] == ["ant/ant_test_0.png", "ant/ant_test_1.png", "bee/bee_test_0.png"]
    assert written["options"]["method"] == "ExcitationBackprop"
    assert f"ExcitationBackprop {verdict} the sanity check" in shown
    assert all(f"{stage['absolute_correlation']:.3f}" in shown for stage in written["stages"])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"method": "Guessing"}, "There is no attribution method named 'Guessing'"),
        ({"network": "resnet17"}, "torchvision has no classifier named 'resnet17'"),
        ({"weights": "nowhere.pth"}, "Weight file nowhere.pth does not exist"),
        ({"images": "nowhere"}, "nowhere holds no images"),
        ({"count": 0}, "--count is 0; give 1 or more"),
        ({"count": "many"}, "argument --count: invalid int value: 'many'"),
        ({"stages": 0}, "--stages is 0; give 1 or more"),
        ({"batch-size": 0}, "--batch-size is 0; give 1 or more"),
        ({"threshold": "nan"}, "--threshold is nan; give a number"),
        ({"layer": "featurs"}, "The model has no layer 'featurs'; near names: features"),
        ({"nothing": 1}, "unrecognized arguments: --nothing 1"),
    ],
)
def test_the_command_refuses_in_one_sentence(
    changed: dict[str, object], message: str, command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(**changed)) == 2
    expected = capsys.readouterr()
    assert message in expected.err
    assert expected.err.count("\n") == 1
    assert expected.out == ""


def test_the_command_names_a_broken_image(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    assert main(command(images=tmp_path)) == 2
    assert "broken.jpg is no readable image" in capsys.readouterr().err


def test_the_command_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    assert "ExcitationBackprop" in capsys.readouterr().out


def test_images_are_spread_over_the_folder(class_folder: Path) -> None:
    names = partial(lambda count: [path.name for path in find_images(class_folder / "train", count)])
    assert names(4) == ["ant_train_0.png", "ant_train_3.png", "bee_train_0.png", "bee_train_3.png"]
    assert len(set(names(7))) == 7
    assert len(names(99)) == 12


def test_the_command_names_an_image_of_too_many_pixels(
    command: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_MAX_PIXELS", "1")
    assert main(command()) == 2
    assert "pixels, more than 1 in all" in capsys.readouterr().err
