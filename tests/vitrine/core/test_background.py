"""Background calls keep their order, wait where many are not done, and lose no error."""

import threading
from collections.abc import Callable

import pytest

from vitrine.core.background import Background


def failing() -> None:
    raise OSError("disk is full")


def test_values_in_order_and_in_another_thread() -> None:
    background, seen = Background("test"), list[int]()

    def noted(number: int) -> int:
        seen.append(number)
        return threading.get_ident()

    futures = [background.call(noted, number) for number in range(9)]
    background.finish()
    assert seen == list(range(9))
    threads = {future.result() for future in futures}
    assert len(threads) == 1
    assert threading.get_ident() not in threads


def test_it_waits_where_many_calls_are_not_done() -> None:
    background, release, entered = Background("test", most_waiting=2), threading.Event(), threading.Event()

    def waiting() -> None:
        entered.set()
        release.wait(30)

    background.call(waiting)
    entered.wait(30)
    background.call(int)
    third = threading.Thread(target=background.call, args=(int,))
    third.start()
    third.join(0.2)
    assert third.is_alive()
    release.set()
    third.join(30)
    assert not third.is_alive()
    background.finish()


@pytest.mark.parametrize("ask", [lambda one: one.finish(), lambda one: [one.call(int) for _ in range(3)]])
def test_an_error_is_raised_by_whoever_asks_next(ask: Callable[[Background], object]) -> None:
    background = Background("test", most_waiting=1)
    background.call(failing)
    with pytest.raises(OSError, match="disk is full"):
        ask(background)
    background.drop()


def test_what_waits_is_dropped() -> None:
    background, release, done = Background("test"), threading.Event(), list[int]()
    background.call(release.wait, 30)
    background.call(done.append, 1)
    threading.Timer(0.1, release.set).start()
    background.drop()
    assert done == []


def test_finishing_twice_is_harmless() -> None:
    background = Background("test")
    background.call(int)
    background.finish()
    background.finish()
    background.drop()


def test_as_a_context_it_ends_with_its_block_and_after_an_error_without_what_waits() -> None:
    done, release = list[int](), threading.Event()
    with Background("test") as background:
        background.call(done.append, 1)
    assert done == [1]

    def fails_beside_its_calls() -> None:
        with Background("test") as background:
            background.call(release.wait, 30)
            background.call(done.append, 2)
            threading.Timer(0.1, release.set).start()
            raise ValueError("elsewhere")

    with pytest.raises(ValueError, match="elsewhere"):
        fails_beside_its_calls()
    assert done == [1]
    with pytest.raises(OSError, match="disk is full"), Background("test") as background:
        background.call(failing)
