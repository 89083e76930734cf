"""SRAE heads against the same networks written plainly: positions, shared trunks, and what is saved."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitrine
from tests.helpers.srae_explainers import TARGETS, Make, Whole, assert_maps_equal_plain_excitation_backprop
from vitrine.explainers.srae.heads import SeparateHeads, SharedHeads, SRAEHead


def test_a_head_over_positions_is_the_mean_of_one_at_each_position() -> None:
    torch.manual_seed(0)
    positions, alone = SRAEHead(6, 3, (5,), positions=4), SRAEHead(6, 3, (5,))
    alone.load_state_dict(positions.state_dict())
    features = torch.rand(2, 24)
    output = positions(features)
    parts = [alone(features[:, 6 * p : 6 * p + 6]) for p in range(4)]
    torch.testing.assert_close(output.embedding, torch.stack([part.embedding for part in parts]).mean(dim=0))
    torch.testing.assert_close(positions.embed(features), output.embedding)
    torch.testing.assert_close(output.estimate, torch.stack([part.estimate for part in parts]).mean(dim=0))
    decoded = output.decoded.reshape(2, 4, 6)
    torch.testing.assert_close(decoded, torch.stack([part.decoded for part in parts], dim=1))
    torch.testing.assert_close(positions.rows_of(features).reshape(2, 24), features)


def naive_shared(heads: SharedHeads, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """(N, J, n) x-features and (N, d) decoded vectors of (N, d)."""
    one, two, three = [layer for layer in heads.encoder if isinstance(layer, nn.Linear)]
    trunk = (two(one(vectors).relu())).relu()
    n = heads.num_features
    classes = [
        (trunk @ three.weight[j * n : (j + 1) * n].T + three.bias[j * n : (j + 1) * n]).relu()
        for j in range(len(heads.alive))
    ]
    embeddings = torch.stack(classes, dim=1)
    assert heads.decoder is not None
    back = [layer for layer in heads.decoder if isinstance(layer, nn.Linear)]
    decoded = back[2](back[1](back[0](torch.cat(classes, dim=1)).relu()).relu())
    return embeddings, decoded


def test_shared_heads_are_the_network_written_plainly() -> None:
    torch.manual_seed(0)
    heads = SharedHeads(4, 9, 3, (7, 5))
    features = torch.rand(6, 9)
    output = heads(features)
    embeddings, decoded = naive_shared(heads, features)
    torch.testing.assert_close(output.embeddings, embeddings)
    torch.testing.assert_close(output.decoded, decoded)
    estimates = torch.stack([embeddings[:, j] @ heads.predictors()[j] for j in range(4)], dim=1)
    torch.testing.assert_close(output.estimates, estimates)
    torch.testing.assert_close(heads.estimates(features), estimates)
    rows = torch.tensor([3, 0, 0, 2, 1, 3])
    embedded = heads.embed(features, rows)
    torch.testing.assert_close(embedded, embeddings[range(6), rows])
    torch.testing.assert_close(heads.contributions(embedded, rows).sum(dim=1), estimates[range(6), rows])


def test_shared_heads_over_positions_average_over_them() -> None:
    torch.manual_seed(0)
    heads = SharedHeads(4, 9, 3, (7, 5), positions=2)
    features = torch.rand(6, 18)
    embeddings, decoded = naive_shared(heads, features.reshape(12, 9))
    output = heads(features)
    torch.testing.assert_close(output.embeddings, embeddings.reshape(6, 2, 4, 3).mean(dim=1))
    torch.testing.assert_close(output.local, embeddings)
    torch.testing.assert_close(output.decoded, decoded)


@pytest.mark.parametrize("pooling", ["average", "positions"])
@pytest.mark.parametrize("contrastive", [False, True])
def test_maps_of_shared_heads(make: Make, network: nn.Module, images: Tensor, contrastive: bool, pooling: str) -> None:
    explainer = make(trunk="shared", contrastive=contrastive, pooling=pooling)

    def whole_of(row: int) -> nn.Module:
        """The trunk with the last layer of one class."""
        layers = list(explainer.heads.get_submodule("encoder").children())
        last = layers[-2]
        assert isinstance(last, nn.Linear)
        own = nn.Linear(last.in_features, 3)
        own.weight.data, own.bias.data = last.weight[3 * row : 3 * row + 3], last.bias[3 * row : 3 * row + 3]
        return Whole(network, nn.Sequential(*layers[:-2], own, nn.ReLU()), pooling)

    assert_maps_equal_plain_excitation_backprop(explainer, images, whole_of, lambda _: [0, 1, 2])


def test_trunks_are_separate_or_shared(make: Make) -> None:
    with pytest.raises(ValueError, match="trunk is 'common'; give 'separate' or 'shared'"):
        make(trunk="common")
    with pytest.raises(ValueError, match="shared trunk needs a hidden layer"):
        make(trunk="shared", hidden=())
    assert make(trunk="shared", decoder=False).heads.decoder is None
    separate = make(decoder=False).heads
    assert isinstance(separate, SeparateHeads)
    assert separate[1].decoder is None


@pytest.mark.parametrize("options", [{"trunk": "shared"}, {"pooling": "positions"}, {"decoder": False}], ids=str)
def test_saved_and_loaded(
    make: Make, network: nn.Module, images: Tensor, tmp_path: Path, options: dict[str, Any]
) -> None:
    explainer = make(**options)
    explainer.heads.drop(torch.tensor([[True, False, False], [True, False, True]]))
    expected = explainer.explain(images, TARGETS)
    explainer.save(tmp_path / "explainer")
    loaded = vitrine.load(tmp_path / "explainer", backbone=network)
    found = loaded.explain(images, TARGETS)
    torch.testing.assert_close(found.heatmaps, expected.heatmaps)
    torch.testing.assert_close(found.scores, expected.scores)
    torch.testing.assert_close(found.logit_estimate, expected.logit_estimate)
    assert found.labels == expected.labels
