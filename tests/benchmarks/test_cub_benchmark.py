"""The benchmark on birds: a small run from its command line, which goes on where it stood."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from benchmarks.cub import __main__ as benchmark
from benchmarks.cub.fitting import LASSO_ALPHAS, LAYERS
from benchmarks.cub.measures import Birds
from benchmarks.cub.tables import cell
from vitrine.attribution import ExcitationBackprop
from vitrine.backbones.networks import build_network
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.converter import SampleSet, write_set
from vitrine.data.shards.sample import Sample
from vitrine.metrics.functional import locality, voronoi_part_probabilities

CLASSES = ["ant", "bee"]
SIZE = 64


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and four test images of two classes, with a box and two parts."""
    folder = tmp_path_factory.mktemp("birds")
    for split, count in (("train", 6), ("test", 4)):
        samples = [
            Sample(f"{split}{n}", png(n), n % 2, [(8, 8, 56, 48)], parts=[(20, 20, 1), (40, 30, 1)])
            for n in range(count)
        ]
        listed = SampleSet("cub", split, CLASSES, samples, ("boxes", "parts"), part_names=["head", "tail"])
        write_set(listed, folder / split, shard_size=10, workers=1, seed=0)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("network") / "classifier.safetensors"
    save_file(build_network("squeezenet1_0", num_classes=2).state_dict(), path, metadata={"num_classes": "2"})
    return path


def run(
    monkeypatch: pytest.MonkeyPatch, shards: Path, weights: Path, work: Path, *approaches: str
) -> dict[str, dict[str, Any]]:
    out = work / "figures.json"
    options = {"--shards": shards, "--networks": f"squeezenet1_0={weights}", "--work": work, "--out": out}
    words = [str(word) for option in options.items() for word in option]
    words += ["--seeds", "0", "--epochs", "1", "--size", str(SIZE), "--approaches", *approaches]
    monkeypatch.setattr("sys.argv", ["benchmarks.cub", *words])
    benchmark.main()
    results = json.loads(out.read_text())["results"]["squeezenet1_0"]
    return {name: runs["0"] for name, runs in results.items()}


def test_a_small_run(
    shards: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(monkeypatch, shards, weights, tmp_path, "srae", "lasso", "ebp", "firing")
    assert found["firing"]["f_reg_test"] == found["srae"]["f_reg_test"]  # the same heads
    assert found["srae"]["f_reg_test"] > 0
    assert 0 <= found["srae"]["masked_accuracy/5"] <= 1
    assert 0 < found["srae"]["locality"] <= np.log(3)
    alphas = [row["alpha"] for row in found["lasso"]["alphas"]]
    assert alphas == list(LASSO_ALPHAS)
    # Excitation backprop of the logit rebuilds the logit.
    assert found["ebp"]["f_reg_test"] == pytest.approx(0, abs=1e-6)
    assert found["ebp"]["f_cls_test"] == 1
    assert "SRAE" in capsys.readouterr().out

    def refuse(*_: object) -> None:
        raise AssertionError("what was measured is measured again")

    monkeypatch.setattr(benchmark, "fit", refuse)
    assert run(monkeypatch, shards, weights, tmp_path, "srae", "ebp")["ebp"] == found["ebp"]


def test_locality_of_the_logit_equals_one_made_by_hand(
    shards: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run(monkeypatch, shards, weights, tmp_path, "ebp")
    birds = Birds.read(tmp_path, shards, "test", Preprocessing(SIZE, round(SIZE * 256 / 224)))
    method = ExcitationBackprop(build_network("squeezenet1_0", str(weights)).eval(), contrastive=True)
    histograms: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    for batch in birds.batches:
        maps = method.attribute(batch["image"], target=batch["label"])
        for row, label in enumerate(batch["label"].tolist()):
            histograms[label].append(voronoi_part_probabilities(maps[row], batch["parts"][row], batch["boxes"][row][0]))
    by_class = [locality(torch.cat(rows).nanmean(dim=0, keepdim=True)) for rows in histograms.values() if rows]
    assert found["ebp"]["locality"] == pytest.approx(float(torch.cat(by_class).nanmean()), abs=1e-5)


def test_the_layers_of_every_network_give_what_they_should() -> None:
    for name, layers in LAYERS.items():
        network = build_network(name)
        assert network.get_submodule(layers.features) is not None
        assert network.get_submodule(layers.logits) is not None


def test_a_cell_is_the_mean_and_the_standard_deviation_over_seeds() -> None:
    assert cell({"0": {"locality": 1.0}, "1": {"locality": 2.0}}, "locality", 2) == "1.50 ± 0.71"
    assert cell({"0": {"f_cls_test": 0.9975}}, "f_cls_test", 2) == "99.75"
    assert cell({"0": {}}, "locality", 2) == "—"
