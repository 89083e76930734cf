from torch import nn

from vitrine.backbones.known_once import known_once


def test_found_once_for_each_key_and_state_until_a_layer_is_another() -> None:
    window, found = nn.Conv2d(3, 4, 3), list[None]()
    model = nn.Sequential(window, nn.ReLU())

    def find() -> int:
        found.append(None)
        return len(found)

    assert [known_once(model, "a", find), known_once(model, "a", find), known_once(model, "b", find)] == [1, 1, 2]
    assert [known_once(model, "a", find, state=1), known_once(model, "a", find, state=1)] == [3, 3]
    assert known_once(model, "a", find) == 4  # what was kept for another state is gone
    model[1] = nn.Tanh()
    assert known_once(model, "a", find) == 5
    window.stride = (2, 2)
    assert known_once(model, "a", find) == 6
    assert known_once(nn.Sequential(*model), "a", find) == 7


def test_nothing_is_kept_of_an_error() -> None:
    model = nn.Sequential(nn.ReLU())
    for _ in range(2):
        try:
            known_once(model, "a", lambda: 1 // 0)
        except ZeroDivisionError:
            continue
        raise AssertionError
    assert known_once(model, "a", lambda: 1) == 1
