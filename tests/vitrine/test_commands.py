import importlib
import subprocess
import sys

import pytest

from vitrine.commands import COMMANDS, main


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert "usage: " in capsys.readouterr().out


def test_usage_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"  {name} " in text for name in COMMANDS)


def test_an_unknown_command_names_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explian"]) == 2
    assert capsys.readouterr().err == "vitrine has no command 'explian'; did you mean explain?\n"


def test_the_package_is_run_as_the_console_script_without_torch() -> None:
    script = (
        "import sys, runpy; sys.argv = ['vitrine', '--version']\ntry: runpy.run_module('vitrine', run_name='__main__')"
    )
    script += "\nexcept SystemExit as stop: assert not stop.code and 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("vitrine ")


@pytest.mark.parametrize("command", COMMANDS.values())
def test_commands_return_exit_codes(command: tuple[str, ...]) -> None:
    assert callable(importlib.import_module(command[0]).main)
