"""Exit codes of command lines, and what they tell."""

from typing import NoReturn

import pytest

from vitrine.core.command_line import INTERRUPTED, PROBLEMS, USER_ERROR, exit_code_of


def test_a_command_has_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code_of(lambda: PROBLEMS) == PROBLEMS
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("a is wrong."), USER_ERROR, "a is wrong.\n"),
        (FileNotFoundError("b is gone."), USER_ERROR, "b is gone.\n"),
        (KeyboardInterrupt(), INTERRUPTED, "Stopped.\n"),
    ],
)
def test_errors_are_sentences(error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> NoReturn:
        raise error

    assert exit_code_of(command, interrupted="Stopped.") == code
    assert capsys.readouterr().err == told


def test_a_fault_of_the_program_is_shown_whole() -> None:
    def command() -> NoReturn:
        raise KeyError("c")

    with pytest.raises(KeyError):
        exit_code_of(command)
