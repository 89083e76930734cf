from pathlib import Path
from typing import Any

import pytest

from vitrine.core.options import OptionError
from vitrine.explain.options import ExplainOptions


@pytest.mark.parametrize(
    ("name", "value"),
    [("batch_size", 0), ("size", -1), ("epochs", 0), ("seed", -1), ("labels", "some"), ("num_classes", 0)],
)
def test_values_that_make_no_sense_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=name):
        ExplainOptions(Path("pictures"), "resnet18", **{name: value})
