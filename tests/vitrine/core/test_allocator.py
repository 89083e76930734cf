"""Freed memory stays with the process inside the context, and comes back after it."""

import platform
import resource

import pytest
import torch

from vitrine.core import allocator
from vitrine.core.allocator import KEEPING, MMAP_MAX, TRIM_THRESHOLD, USUAL, keeping_freed_memory, return_freed_memory

CPU = torch.device("cpu")


class Library:
    """Takes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def mallopt(self, name: int, value: int) -> int:
        self.calls.append(("mallopt", name, value))
        return 1

    def malloc_trim(self, pad: int) -> int:
        self.calls.append(("trim", pad, 0))
        return 1


def test_it_is_set_once_and_set_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)

    def fail() -> None:
        with keeping_freed_memory(CPU):
            with keeping_freed_memory(CPU):
                assert library.calls == [("mallopt", name, value) for name, value in KEEPING.items()]
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    after = [("mallopt", name, value) for name, value in USUAL.items()]
    assert library.calls[len(KEEPING) :] == [*after, ("trim", 0, 0)]
    assert KEEPING[MMAP_MAX] == 0
    assert KEEPING[TRIM_THRESHOLD] > USUAL[TRIM_THRESHOLD]


def test_other_devices_and_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(allocator, "_glibc", lambda: library)
    with keeping_freed_memory(torch.device("cuda")):
        pass
    assert not library.calls
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with keeping_freed_memory(CPU):
        pass


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_pages_are_not_mapped_anew() -> None:
    def faults(count: int) -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(count):
            torch.empty(12_000_000).fill_(0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    apart = faults(4)
    with keeping_freed_memory(CPU):
        faults(10)  # until the heap has a place for it
        kept = faults(4)
    assert kept < apart / 4


def test_freed_memory_goes_back_to_the_system() -> None:
    kept = [torch.ones(2**15) for _ in range(1000)]  # 128 kB each, below what is mapped apart
    values = kept[::2]
    del kept
    return_freed_memory()
    assert all(bool((value == 1).all()) for value in values)
