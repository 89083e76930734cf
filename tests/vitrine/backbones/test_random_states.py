import random
import threading

import numpy as np
import pytest
import torch

from vitrine.backbones.random_states import random_states_kept


def draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002, S311 - the global ones


def draw_within_each_other() -> None:
    with random_states_kept():
        torch.rand(3)
        within = torch.get_rng_state()
        with random_states_kept():
            torch.rand(2)
        assert torch.equal(torch.get_rng_state(), within)
        raise RuntimeError("within")


def test_the_states_are_put_back_also_after_an_error_and_within_each_other() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="within"):
        draw_within_each_other()
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("every", [False, True])
def test_other_generators_are_kept_if_asked(every: bool) -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the global one
    torch.manual_seed(0)
    with random_states_kept(every=every):
        first = draws()
    second = draws()
    assert [a == b for a, b in zip(first, second, strict=True)] == [every, every, True]


def test_blocks_of_threads_that_overlap_leave_the_state_from_before_the_first() -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    entered, may_leave = threading.Event(), threading.Event()

    def overlap() -> None:
        with random_states_kept():
            entered.set()
            may_leave.wait(10)
            torch.rand(2)

    thread = threading.Thread(target=overlap)
    with random_states_kept():
        torch.rand(3)
        thread.start()
        assert entered.wait(10)
    may_leave.set()
    thread.join()
    assert torch.equal(torch.get_rng_state(), state)
