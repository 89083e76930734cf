"""The command line of ``vitrine serve``: what it takes, and one sentence for what it does not."""

import re

import pytest

from vitrine.serve import main
from vitrine.serve.cli import parsed


def test_options_of_the_line() -> None:
    options = parsed(["a", "b", "--model", "resnet18", "--with", "GradCAM,EBP", "--with", "IG", "--port", "8000"])
    assert (options.explainers, options.model) == (["a", "b"], "resnet18")
    assert list(options.methods) == ["GradCAM", "EBP", "IG"]
    assert (options.host, options.port, options.max_megabytes) == ("127.0.0.1", 8000, 20)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "--model is null; give a network"),
        ("--model x --port 99999", "--port is 99999; give a whole number from 1 to 65535"),
        ("--model x --max-megabytes 0", "--max-megabytes is 0"),
        ("--modle x", "unrecognized arguments.*vitrine serve --help"),
    ],
)
def test_wrong_lines_are_one_sentence(line: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    told = capsys.readouterr().err
    assert re.search(says, told), told
    assert "Traceback" not in told


def test_what_cannot_be_loaded_is_told_before_anything_is_served(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--model", "resnet50000", "--weights", "none"]) == 2
    assert "near names: resnet50" in capsys.readouterr().err
