"""Options of ``vitrine serve``: bounds, and something to serve."""

from typing import Any

import pytest

from vitrine.core.options import OptionError
from vitrine.serve.options import ServeOptions


def test_it_is_served_to_this_machine_alone_and_uploads_are_bounded() -> None:
    options = ServeOptions(model="resnet18")
    assert (options.host, options.port, options.max_megabytes, options.max_megapixels) == ("127.0.0.1", None, 20, 40)


@pytest.mark.parametrize("wrong", [{"port": 0}, {"port": 65536}, {"max_megabytes": 0}, {"max_megapixels": -1}])
def test_values_out_of_range_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"{next(iter(wrong))} is {next(iter(wrong.values()))}"):
        ServeOptions(model="resnet18", **wrong)


def test_there_has_to_be_something_to_serve() -> None:
    with pytest.raises(OptionError, match="folders of saved explainers"):
        ServeOptions()
