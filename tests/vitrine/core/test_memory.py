"""The memory and disk space that a fit takes, and what is free."""

import shutil
from pathlib import Path

import pytest
import torch

from vitrine.core.memory import amount, fit_bytes, free_bytes, free_disk_bytes, readable_size


def test_a_fit_holds_weights_gradients_moments_and_activations() -> None:
    assert fit_bytes(parameters=1000, trained=100, activations=10) == 4 * (1000 + 3 * 100 + 10)


def test_the_system_says_what_is_free() -> None:
    free = free_bytes(torch.device("cpu"))
    assert free is None or free > 2**20
    assert free_bytes(torch.device("meta")) is None


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (12_300, "12.3 k"),
        (12_300_000, "12.3 M"),
        (4.56e9, "4.56 G"),
        (4e12, "4e+03 G"),
    ],
)
def test_counts_have_a_unit(count: float, text: str) -> None:
    assert amount(count) == text


def test_a_folder_that_is_not_there_yet_is_on_the_disk_of_the_nearest_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: asked.append(path) or shutil._ntuple_diskusage(9, 4, 5))  # type: ignore[func-returns-value]
    assert free_disk_bytes(tmp_path / "runs" / "a") == 5
    assert asked == [tmp_path]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_540_000_000, "1.54 GB"), (2e12, "2 TB")]
)
def test_readable_sizes(size: float, text: str) -> None:
    assert readable_size(size) == text
