"""Earlier names of callbacks' options, which the command line answers with the names of today."""

import inspect

import pytest

import callbacks
import train

RENAMED = [
    (kind, earlier, today)
    for kind in (getattr(callbacks, name) for name in callbacks.__all__)
    for earlier, today in vars(kind).get("RENAMED", {}).items()
]


@pytest.mark.parametrize(("kind", "earlier", "today"), RENAMED)
def test_the_name_of_today_is_an_option(kind: type, earlier: str, today: str) -> None:
    options = inspect.signature(kind).parameters
    assert today in options
    assert earlier not in options


@pytest.mark.parametrize(("kind", "earlier", "today"), RENAMED)
@pytest.mark.usefixtures("workplace")
def test_an_earlier_name_is_answered_with_that_of_today(
    kind: type, earlier: str, today: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--trainer.callbacks+={kind.__name__}", f"--trainer.callbacks.init_args.{earlier}=3"]
    with pytest.raises(SystemExit) as stopped:
        train.main(["fit", "-c", "configs/quickstart.yaml", *options])
    assert stopped.value.code == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"init_args.{earlier} of {kind.__name__}" in told
    assert f"init_args.{today} now" in told
