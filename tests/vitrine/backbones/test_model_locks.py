import threading
import time
from concurrent.futures import ThreadPoolExecutor

from torch import nn

from vitrine.backbones.model_locks import model_lock


def most_at_once(models: list[nn.Module]) -> int:
    """The largest number of threads that were within locks of the models at the same time, one thread a model."""
    inside, most, counting = 0, 0, threading.Lock()

    def stay(model: nn.Module) -> None:
        nonlocal inside, most
        with model_lock(model):
            with counting:
                inside += 1
                most = max(most, inside)
            time.sleep(0.02)
            with counting:
                inside -= 1

    with ThreadPoolExecutor(len(models)) as pool:
        list(pool.map(stay, models))
    return most


def test_threads_take_turns_on_a_model_and_its_parts() -> None:
    part, other = nn.Linear(2, 2), nn.Linear(2, 2)
    assert most_at_once([part] * 3) == 1
    assert most_at_once([part, nn.Sequential(part), nn.Sequential(nn.ReLU(), part)]) == 1
    assert most_at_once([other, other, nn.Sequential(part, other)]) == 1


def test_models_that_share_nothing_do_not_wait() -> None:
    assert most_at_once([nn.Linear(2, 2) for _ in range(3)]) > 1


def test_a_thread_takes_a_lock_again() -> None:
    part = nn.Linear(2, 2)
    with model_lock(nn.Sequential(part)), model_lock(part), model_lock(part):
        pass


def test_two_threads_that_take_two_models_in_both_orders_end() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    with model_lock(first), model_lock(second):
        pass
    both = [nn.Sequential(first, second), nn.Sequential(second, first)]

    def take(index: int) -> int:
        for _ in range(50):
            with model_lock(both[index % 2]):
                pass
        return index

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(take, range(4), timeout=30)) == [0, 1, 2, 3]
