"""Average images against planted patterns, a loop over images, other batches and two processes."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import VisionTransformer

from tests.helpers.ranks import RankPool
from vitrine.attribution import GuidedBackprop, UpsampledActivation
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.batch import Batch
from vitrine.core.top_k import Location
from vitrine.filters import average_images as module
from vitrine.filters.average_images import AverageImage, average_images
from vitrine.filters.heatmaps import FilterVisualizer
from vitrine.filters.maxima import TargetFilter, filter_maxima, find_top_images, restrict_to_classes
from vitrine.filters.responses import FilterResponses

SIZE = 12
PATTERN = torch.tensor([[1.0, -2.0, 0.5], [3.0, 2.0, -1.0], [0.0, 1.5, -0.5]]) * torch.tensor([1.0, -0.5, 2.0]).view(
    3, 1, 1
)


class Detector(nn.Module):
    """Its first filter fires most where the pattern is; the last one of the layer never does."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.second = nn.Conv2d(4, 5, 3, stride=2, padding=1)
        self.hidden = nn.Linear(5, 6)
        self.logits = nn.Linear(6, 2)
        with torch.no_grad():
            self.first.weight[0] = PATTERN
            self.first.weight[3] = 0

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.second(F.relu(self.first(images), inplace=True)), inplace=True)
        output: Tensor = self.logits(F.relu(self.hidden(maps.mean(dim=(2, 3)))))
        return output


def field_of(layer: str, location: Location | None) -> tuple[int, int, int, int]:
    """Worked out by hand."""
    if layer == "hidden" or location is None:
        return 0, 0, SIZE, SIZE
    row, column = location
    if layer == "first":
        return column - 1, row - 1, column + 2, row + 2
    return 2 * column - 2, 2 * row - 2, 2 * column + 3, 2 * row + 3


@pytest.fixture
def responses() -> FilterResponses:
    torch.manual_seed(0)
    return FilterResponses(FrozenBackbone(Detector()), layers=["first", "second", "hidden"], image_size=SIZE)


def wanted(responses: FilterResponses, *pairs: tuple[str, int], of_class: int | None = None) -> list[TargetFilter]:
    layers = {layer.name: layer for layer in responses.layers}
    return [TargetFilter(layers[name], channel, of_class) for name, channel in pairs]


def streamed(images: Tensor, batch_size: int = 4, labels: Tensor | None = None) -> Callable[[], Iterator[Batch]]:
    """Batches of images that are named by their place."""

    def stream() -> Iterator[Batch]:
        for start in range(0, len(images), batch_size):
            part = slice(start, start + batch_size)
            keys = [f"{n:03d}" for n in range(len(images))][part]
            label = torch.zeros(len(images), dtype=torch.int64) if labels is None else labels
            yield Batch(key=keys, image=images[part], label=label[part])

    return stream


def averaged(
    responses: FilterResponses, wanted: list[TargetFilter], stream: Callable[[], Iterable[Batch]], **options: Any
) -> list[AverageImage]:
    return average_images(stream, responses, wanted, (3, SIZE, SIZE), **options)


def planted(*places: tuple[int, int]) -> Tensor:
    """Blank images, each with the pattern about one place, as far as it is inside."""
    images = torch.zeros(len(places), 3, SIZE + 2, SIZE + 2)
    for image, (row, column) in zip(images, places, strict=True):
        image[:, row : row + 3, column : column + 3] = PATTERN
    return images[:, :, 1:-1, 1:-1].contiguous()


def noise(count: int, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_the_average_of_planted_patterns_is_the_pattern(responses: FilterResponses) -> None:
    images = torch.cat([torch.zeros(3, 3, SIZE, SIZE), planted((4, 7), (1, 1), (10, 2), (6, 6), (9, 10))])
    (average,) = averaged(responses, wanted(responses, ("first", 0)), streamed(images, 3))
    assert torch.equal(average.pixels, PATTERN.double())
    # Of an image without any response there is no patch.
    assert sorted(image.key for image in average.images) == ["003", "004", "005", "006", "007"]
    assert {image.key: image.location for image in average.images}["005"] == (10, 2)
    # The map's maximum is in the patch's middle, and 1 as every map is over its own maximum.
    assert average.activation is not None
    assert float(average.activation[1, 1]) == pytest.approx(1)
    assert float(average.activation.max()) == pytest.approx(1)
    assert torch.equal(average.guided_backprop, average.heatmap)  # there is no stride below the layer


@pytest.mark.parametrize(("place", "rows", "columns"), [((0, 0), [0], [0]), ((11, 5), [2], []), ((4, 11), [], [2])])
def test_a_patch_over_the_border_is_padded(
    responses: FilterResponses, place: tuple[int, int], rows: list[int], columns: list[int]
) -> None:
    expected = PATTERN.double().clone()
    expected[:, rows] = 0
    expected[:, :, columns] = 0
    images = planted(place)
    at = filter_maxima(responses, images, wanted(responses, ("first", 0)))
    assert tuple(at.locations[0, 0].tolist()) == place
    (average,) = averaged(responses, wanted(responses, ("first", 0)), streamed(images))
    assert torch.equal(average.pixels, expected)


def test_only_the_top_images_are_averaged(responses: FilterResponses) -> None:
    images = noise(9)
    filters = wanted(responses, ("second", 2))
    at = filter_maxima(responses, images, filters)
    best = at.responses[:, 0].argsort(descending=True)[:2].tolist()
    (average,) = averaged(responses, filters, streamed(images), top_k=2)
    assert [image.key for image in average.images] == [f"{n:03d}" for n in best]
    fields = [field_of("second", tuple(at.locations[n, 0].tolist())) for n in best]
    patches = [
        F.pad(images[n], (6,) * 4)[:, y0 + 6 : y1 + 6, x0 + 6 : x1 + 6]
        for n, (x0, y0, x1, y1) in zip(best, fields, strict=True)
    ]
    torch.testing.assert_close(average.pixels, torch.stack(patches).double().mean(dim=0))


def test_ranked_by_the_signed_maximum(responses: FilterResponses) -> None:
    images = noise(9)
    filters = wanted(responses, ("second", 2), ("hidden", 0))
    outputs = responses.backbone(images, taps=["second", "hidden"]).taps
    found = averaged(responses, filters, streamed(images), top_k=4, rank_by="maximum")
    for average, values in zip(found, (outputs["second"][:, 2].amax(dim=(1, 2)), outputs["hidden"][:, 0]), strict=True):
        expected = [n for n in values.argsort(descending=True).tolist()[:4] if values[n] > 0]
        assert [int(image.key) for image in average.images] == expected
        torch.testing.assert_close(torch.tensor([image.response for image in average.images]), values[expected])
    # The norm counts what is negative, too.
    assert (
        find_top_images(streamed(-images)(), responses, filters)[1]
        != find_top_images(streamed(-images)(), responses, filters, rank_by="maximum")[1]
    )
    with pytest.raises(ValueError, match="rank_by is 'mean'; give 'response' or 'maximum'"):
        averaged(responses, filters, streamed(images), rank_by="mean")


FILTERS = (("first", 1), ("second", 0), ("hidden", 3), ("second", 4), ("hidden", 0))


def naive(
    responses: FilterResponses, images: Tensor, name: str, channel: int, top: int, side: int
) -> dict[str, Tensor]:
    """One image after the other, each with a method of its own."""
    model = responses.backbone.model
    (filter_,) = wanted(responses, (name, channel))
    x = torch.cat([responses(image[None])["features"] for image in images])[:, filter_.index]
    chosen = [n for n in x.argsort(descending=True).tolist() if x[n] > 0][:top]
    sums: dict[str, list[Tensor]] = {"pixels": [], "activation": [], "guided_backprop": [], "heatmap": []}
    for n in chosen:
        output = responses.backbone(images[n : n + 1], taps=[name]).taps[name][0, channel]
        location = None
        maps = {"pixels": images[n]}
        for way, stride_one in (("guided_backprop", False), ("heatmap", True)):
            method = GuidedBackprop(model, name, stride_one=stride_one)
            maps[way] = method.attribute(images[n : n + 1], channel=channel)[0].abs().amax(dim=0, keepdim=True)
        if output.ndim:
            place = int(output.argmax())
            location = (place // output.shape[1], place % output.shape[1])
            maps["activation"] = UpsampledActivation(model, name).attribute(images[n : n + 1], channel=channel)[0]
        x0, y0, x1, y1 = field_of(name, location)
        for way, map_ in maps.items():
            patch = F.pad(map_, (6,) * 4)[:, y0 + 6 : y1 + 6, x0 + 6 : x1 + 6]
            if way != "pixels" and patch.any():
                patch = patch / patch.abs().max()
            small = F.interpolate(patch[None], (side, side), mode="bilinear", antialias=True)[0]
            sums[way].append(small if x1 - x0 > side else patch)
    return {way: torch.stack(patches).double().mean(dim=0) for way, patches in sums.items() if patches}


@pytest.mark.parametrize(("peak_cells", "size"), [(0, 32), (1, 8), (2, 16), (9, 32)])
def test_behind_attention_the_patch_is_about_the_peak(peak_cells: int, size: int) -> None:
    torch.manual_seed(0)
    vit = VisionTransformer(32, 8, num_layers=1, num_heads=2, hidden_dim=12, mlp_dim=20, num_classes=3)
    names = ["conv_proj", "encoder.layers.encoder_layer_0.mlp", "encoder.layers.encoder_layer_0.mlp[0]"]
    responses = FilterResponses(FrozenBackbone(vit), names, image_size=32)
    images = torch.randn(3, 3, 32, 32)
    filters = [TargetFilter(layer, 5) for layer in responses.layers]
    batch: Batch = {"image": images, "key": ["a", "b", "c"]}
    embedding, patches, of_class = average_images(
        lambda: iter([batch]), responses, filters, (3, 32, 32), top_k=1, peak_cells=peak_cells
    )
    assert embedding.pixels.shape == (3, 8, 8)  # before attention, a token's own patch
    assert patches.pixels.shape == (3, size, size)
    assert of_class.pixels.shape == (3, 32, 32)  # a class token has no place
    assert of_class.activation is None
    (best,) = patches.images
    row, column = best.location or (0, 0)
    if size == 8:
        expected = images[int(ord(best.key) - ord("a"))][:, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
        torch.testing.assert_close(patches.pixels.float(), expected)


@pytest.mark.parametrize("side", [96, 4])
def test_all_four_against_a_loop_over_images(responses: FilterResponses, side: int) -> None:
    images = noise(11)
    found = averaged(responses, wanted(responses, *FILTERS), streamed(images, 5), top_k=6, side=side)
    assert [(average.target.layer.name, average.target.channel) for average in found] == list(FILTERS)
    for average, (name, channel) in zip(found, FILTERS, strict=True):
        expected = naive(responses, images, name, channel, 6, side)
        assert (average.activation is None) == (name == "hidden")
        for way, patch in expected.items():
            drawn = getattr(average, way)
            torch.testing.assert_close(drawn if way == "pixels" else drawn[None], patch, rtol=1e-4, atol=1e-5)


def test_stride_one_matters_below_a_stride(responses: FilterResponses) -> None:
    average, full = averaged(responses, wanted(responses, ("second", 0), ("hidden", 1)), streamed(noise(5)))
    assert not torch.allclose(average.heatmap, average.guided_backprop)
    assert full.pixels.shape == (3, SIZE, SIZE)
    torch.testing.assert_close(
        full.pixels, torch.stack([noise(5)[int(image.key)] for image in full.images]).double().mean(dim=0)
    )


def test_a_field_larger_than_the_image_is_cut_about_its_middle() -> None:
    detector = Detector()
    detector.first = nn.Conv2d(3, 4, 41, padding=20, bias=False)
    nn.init.zeros_(detector.first.weight)
    with torch.no_grad():
        detector.first.weight[0, :, 19:22, 19:22] = PATTERN
    responses = FilterResponses(FrozenBackbone(detector), layers=["first"], image_size=SIZE)
    images = planted((4, 7))
    (average,) = averaged(responses, wanted(responses, ("first", 0)), streamed(images))
    assert average.images[0].location == (4, 7)
    expected = F.pad(images[0], (8,) * 4)[:, 4 - 6 + 8 : 4 + 6 + 8, 7 - 6 + 8 : 7 + 6 + 8]
    assert torch.equal(average.pixels, expected.double())


def same(first: list[AverageImage], second: list[AverageImage]) -> None:
    for one, other in zip(first, second, strict=True):
        assert one.target == other.target
        assert [(image.key, image.location) for image in one.images] == [
            (image.key, image.location) for image in other.images
        ]
        for way in ("pixels", "activation", "guided_backprop", "heatmap"):
            torch.testing.assert_close(getattr(one, way), getattr(other, way), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 3, 13])
def test_batches_and_what_is_drawn_at_once_do_not_matter(
    responses: FilterResponses, batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    filters, images = wanted(responses, *FILTERS), noise(13)
    expected = averaged(responses, filters, streamed(images), top_k=5)
    monkeypatch.setattr(module, "FILTERS_AT_ONCE", 2)
    monkeypatch.setattr(module, "IMAGES_AT_ONCE", 3)
    same(averaged(responses, filters, streamed(images, batch_size), top_k=5), expected)


def test_filters_that_never_respond_have_no_average(responses: FilterResponses) -> None:
    found = averaged(responses, wanted(responses, ("first", 3), ("first", 0)), streamed(noise(4)))
    assert [average.target.channel for average in found] == [0]


def test_images_of_the_class_alone(responses: FilterResponses) -> None:
    images, labels = noise(8), torch.tensor([0, 1] * 4)
    filters = [*wanted(responses, ("second", 1), of_class=1), *wanted(responses, ("second", 1))]
    restricted, free = averaged(responses, filters, streamed(images, 3, labels))
    assert {image.key for image in restricted.images} == {"001", "003", "005", "007"}
    assert len(free.images) == 8
    several = torch.eye(2)[labels]  # the same classes as multi-hot labels
    same(averaged(responses, filters, streamed(images, 3, several)), [restricted, free])


def test_a_response_of_another_class_counts_as_none(responses: FilterResponses) -> None:
    filters = [*wanted(responses, ("first", 0), of_class=1), *wanted(responses, ("first", 1))]
    table = torch.rand(3, 2) + 0.1
    limited = restrict_to_classes(table, torch.tensor([1, 0, 1]), filters)
    assert limited[1, 0] == 0
    assert torch.equal(limited[[0, 2]], table[[0, 2]])
    assert torch.equal(limited[:, 1], table[:, 1])


def test_an_image_that_comes_twice_counts_once(responses: FilterResponses) -> None:
    filters, images = wanted(responses, *FILTERS), noise(6)
    stream = streamed(images)

    def twice() -> Iterator[Batch]:
        return (batch for _ in range(2) for batch in stream())

    same(averaged(responses, filters, twice, top_k=4), averaged(responses, filters, stream, top_k=4))


def test_other_images_the_second_time_are_refused(responses: FilterResponses) -> None:
    streams = iter([streamed(noise(6)), streamed(noise(3))])

    def stream() -> Iterator[Batch]:
        return next(streams)()

    with pytest.raises(ValueError, match="gave 3 of the 6 images that the first one found; stream the same images"):
        averaged(responses, wanted(responses, ("second", 0)), stream)


def test_progress_counts_the_images_of_both_passes(responses: FilterResponses) -> None:
    seen: list[int] = []
    averaged(responses, wanted(responses, ("first", 0)), streamed(noise(7), 3), advance=seen.append)
    assert seen == [3, 3, 1] * 2


def test_only_chosen_images_are_drawn(responses: FilterResponses, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second pass costs what the chosen images cost, whatever the data set's size."""
    drawn: list[int] = []
    usual = FilterVisualizer.__call__

    def counted(visualizer: FilterVisualizer, images: Tensor, filters: Any) -> Tensor:
        drawn.append(len(images) * len(filters[0]))
        return usual(visualizer, images, filters)

    monkeypatch.setattr(FilterVisualizer, "__call__", counted)
    averaged(responses, wanted(responses, ("first", 0), ("second", 1)), streamed(noise(40)), top_k=3)
    assert sum(drawn) == 6


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(responses: FilterResponses, fails: bool) -> None:
    model = responses.backbone.model.train()
    model.requires_grad_(requires_grad=True)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state, images = torch.get_rng_state(), noise(5)
    kept = images.clone()

    def stream() -> Iterator[Batch]:
        yield from streamed(images)()
        if fails:
            raise RuntimeError("no more")

    if fails:
        with pytest.raises(RuntimeError, match="no more"):
            averaged(responses, wanted(responses, *FILTERS), stream)
    else:
        averaged(responses, wanted(responses, *FILTERS), stream)
    assert all(child.training and not child._forward_hooks for child in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is not None and bool(parameter.grad.eq(1).all()) for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(images, kept)


def problem() -> tuple[FilterResponses, list[TargetFilter], Tensor]:
    torch.manual_seed(0)
    responses = FilterResponses(FrozenBackbone(Detector()), layers=["first", "second", "hidden"], image_size=SIZE)
    return responses, wanted(responses, *FILTERS, ("first", 3)), noise(9)


def averages_on_rank(rank: int) -> list[Any]:
    responses, filters, images = problem()
    batches = list(streamed(images, 2)())
    uneven = batches[:1] if rank == 0 else batches[:1] + batches[1:]  # the first batch comes to both
    found = averaged(responses, filters, lambda: uneven, top_k=4)
    return [(a.pixels, a.activation, a.guided_backprop, a.heatmap, [i[:3] for i in a.images]) for a in found]


def test_two_ranks_average_what_one_averages(ranks: RankPool) -> None:
    responses, filters, images = problem()
    expected = averaged(responses, filters, streamed(images), top_k=4)
    for found in ranks.run(averages_on_rank):
        for (*patches, chosen), average in zip(found, expected, strict=True):
            assert [(key, location) for _, key, location in chosen] == [(i.key, i.location) for i in average.images]
            own = (average.pixels, average.activation, average.guided_backprop, average.heatmap)
            for patch, other in zip(patches, own, strict=True):
                torch.testing.assert_close(patch, other, rtol=1e-4, atol=1e-5)


def test_the_first_pass_alone(responses: FilterResponses) -> None:
    filters, images = wanted(responses, *FILTERS), noise(10)
    top = find_top_images(streamed(images)(), responses, filters, top_k=3)
    x = responses(images)["features"][:, [filter_.index for filter_ in filters]]
    for number, column in enumerate(x.T):
        expected = column.sort(descending=True)
        assert [int(image.key) for image in top[number]] == expected.indices[:3].tolist()
        torch.testing.assert_close(torch.tensor([image.response for image in top[number]]), expected.values[:3])


class ChannelsLast(nn.Module):
    """A layer norm over channels that come last."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.LayerNorm(6)
        self.logits = nn.Linear(6, 2)

    def forward(self, images: Tensor) -> Tensor:
        maps = F.relu(self.norm(self.patches(images).permute(0, 2, 3, 1)))
        output: Tensor = self.logits(maps.mean(dim=(1, 2)))
        return output


def test_the_place_of_the_maximum_where_channels_come_last() -> None:
    torch.manual_seed(0)
    responses = FilterResponses(FrozenBackbone(ChannelsLast()), layers=["norm"], image_size=SIZE)
    (layer,) = responses.layers
    images = noise(3)
    at = filter_maxima(responses, images, [TargetFilter(layer, 4)])
    maps = responses.backbone(images, taps=["norm"]).taps["norm"][..., 4]
    for image in range(3):
        row, column = at.locations[image, 0].tolist()
        assert maps[image, row, column] == maps[image].max()
