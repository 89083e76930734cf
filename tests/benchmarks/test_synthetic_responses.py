"""Synthetic responses are like real ones, and a stream of them goes on from any batch."""

import torch

from benchmarks.synthetic_responses import SyntheticResponses


def test_layers_add_up_to_one_and_tails_are_heavy() -> None:
    responses = SyntheticResponses(filters=700, classes=5)
    x = torch.cat([x for x, _ in responses.batches(400, 64)])
    for layer in x.split(responses.widths(), dim=1):
        torch.testing.assert_close(layer.sum(dim=1), torch.ones(400))
    deviation = (x - x.mean(dim=0)) / x.std(dim=0)
    assert (deviation**4).mean() > 6  # 3 for a Gaussian
    assert torch.corrcoef(x[:, :64].T).triu(1).abs().max() > 0.3


def test_classes_differ() -> None:
    (x, labels), *_ = SyntheticResponses(filters=300, classes=2).batches(400, 400)
    first, second = x[labels[:, 0] == 1].log(), x[labels[:, 1] == 1].log()
    assert ((first.mean(dim=0) - second.mean(dim=0)).abs() > x.log().std(dim=0) / 2).any()


def test_a_stream_goes_on_from_a_batch() -> None:
    responses = SyntheticResponses(filters=100, classes=3)
    whole = [x for x, _ in responses.batches(250, 64)]
    assert [len(x) for x in whole] == [64, 64, 64, 58]
    for one, other in zip(responses.batches(250, 64, first=128), whole[2:], strict=True):
        assert torch.equal(one[0], other)
