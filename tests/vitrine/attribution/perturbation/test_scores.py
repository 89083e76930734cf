"""Scores of perturbed inputs: of classes by logit and probability, and of channels by their mean."""

import torch

from vitrine.attribution.perturbation.scores import target_scores


def test_scores_of_classes_and_channels() -> None:
    torch.manual_seed(0)
    logits, indices = torch.randn(2, 5), torch.tensor([[4, 0, 4], [1, 2, 3]])
    for probability, expected in ((False, logits), (True, logits.exp() / logits.exp().sum(dim=1, keepdim=True))):
        scores = target_scores(logits, indices, probability=probability)
        torch.testing.assert_close(scores, torch.stack([expected[b][indices[b]] for b in range(2)]))
    activations = torch.randn(2, 5, 3, 4)
    scores = target_scores(activations, indices, probability=False)
    torch.testing.assert_close(scores[1, 2], activations[1, 3].mean())
    assert target_scores(logits.bfloat16(), indices, probability=True).dtype == torch.float32
