from pathlib import Path

import pytest

import train
from tests.helpers.flower_pictures import NETWORK, WEIGHTS
from vitrine.explain.cli import main, parsed


def test_the_line_becomes_options() -> None:
    line = "--images p --model resnet18 --with GradCAM,EBP --with SRAE --class-map a=1 b=2 --size 64"
    options = parsed(line.split())
    assert options.explainers == ["GradCAM", "EBP", "SRAE"]
    assert options.class_map == ["a=1", "b=2"]
    assert options.size == 64
    assert options.command == f"vitrine explain {line}"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--images p", "--model"),
        ("--images p --model resnet18 --batch-size 0", "--batch-size is 0"),
        ("--images p --model resnet18 --labels perhaps", "--labels"),
        ("--images no_such_folder --model resnet18", "no_such_folder does not exist"),
        ("--images {images} --model resnt18 --weights none", "near names: resnet18"),
        ("--images {images} --model resnet18 --weights none.pth", "none.pth"),
        ("--images {images} --model {net} --weights {weights} --with GardCAM", "near names: GradCAM"),
        ("--images {images} --model {net} --weights {weights} --size 48 --target green", "near names: "),
        ("--images {images} --model {net} --weights {weights} --classes none.txt", "none.txt is not there"),
    ],
)
def test_a_wrong_line_is_one_sentence(
    line: str, told: str, picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = line.format(images=picture_folder, net=NETWORK, weights=WEIGHTS).split()
    assert main([*words, "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out" / "report").exists()


def test_train_explains_too(picture_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = (
        f"explain --images {picture_folder}/others/0.png --model {NETWORK} --weights {WEIGHTS} --size 48 --with GradCAM"
    )
    with pytest.raises(SystemExit) as stop:
        train.main([*line.split(), "--out", str(tmp_path)])
    assert stop.value.code == 0
    told = capsys.readouterr().out
    assert str(tmp_path / "report" / "index.html") in told
    assert (tmp_path / "predictions" / "0.png" / "GradCAM.png").is_file()


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "vitrine explain --images pictures --model resnet50" in capsys.readouterr().out
