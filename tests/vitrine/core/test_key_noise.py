"""Random numbers of a sample: the same whatever its batch, others for other keys, seeds and draws."""

import pytest
import torch

from vitrine.core.key_noise import KeyNoise


def test_a_sample_has_its_own_sequence_whatever_its_batch() -> None:
    together, alone = KeyNoise(3, ["a", "b", "c"], 3), KeyNoise(3, ["b"], 1)
    drawn = [together.draw((2, 50)) for _ in range(2)]
    assert torch.equal(alone.draw((2, 50))[0], drawn[0][1])
    assert torch.equal(alone.draw((2, 50))[0], drawn[1][1])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert not torch.equal(drawn[0][1], drawn[1][1])
    assert not torch.equal(KeyNoise(4, ["a"], 1).draw((2, 50))[0], drawn[0][0])


def test_without_keys_all_samples_have_the_same_sequence() -> None:
    first, second = KeyNoise(0, None, 2).draw((9,), "uniform")
    assert torch.equal(first, second)
    assert ((first >= 0) & (first < 1)).all()


def test_global_random_numbers_are_left_alone() -> None:
    before = torch.random.get_rng_state()
    KeyNoise(0, ["a"], 1).draw((5,))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_one_key_a_sample() -> None:
    with pytest.raises(ValueError, match=r"keys names 1 samples and there are 2"):
        KeyNoise(0, ["a"], 2)
