"""Orthogonality and Locality in two processes, on the images of their own tests."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
IMAGES = 12


def told(name: str) -> ModuleType:
    """A test module of this folder."""
    spec = importlib.util.spec_from_file_location(f"{name}_of_ranks", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def figures(rank: int) -> list[Any]:
    """Of each metric the classes', the whole's, and again the classes' figures; once one rank has no batch."""
    orthogonality, locality = told("test_orthogonality"), told("test_locality")
    found = []
    for module, kind in (
        (orthogonality, orthogonality.Orthogonality),
        (locality, locality.Locality),
        (locality, locality.ObjectLocality),
    ):
        for cut in (7, IMAGES):
            metric = kind().to("cpu")  # as a trainer does
            if cut < IMAGES or not rank:
                module.take(metric, *((cut, IMAGES) if rank else (0, cut)))
            found.append([module.by_class(metric), module.values(metric), module.by_class(metric)])
    return found


def test_two_processes_equal_one_also_where_one_has_no_batch(over_two_ranks: Callable[..., list[Any]]) -> None:
    orthogonality, locality = told("test_orthogonality"), told("test_locality")
    whole = []
    for classes, expected in (
        (orthogonality.expected_by_class(), orthogonality.expected()),
        (locality.expected_by_class("parts"), locality.expected("parts")),
        (locality.expected_by_class("objects"), locality.expected("objects")),
    ):
        rows = {str(label): pytest.approx(row, nan_ok=True) for label, row in classes.items()}
        whole += [[rows, pytest.approx(expected), rows]] * 2
    assert over_two_ranks(figures) == [whole] * 2
