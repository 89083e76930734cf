from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from callbacks.report import ReportGallery, compact, true_classes
from tests.helpers import explaining_fakes as fakes
from tests.helpers.pages import cards_of
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.visualization.layers import positive_strength
from vitrine.visualization.report.metric_tiles import number


def keys(page: Path) -> list[str]:
    return [card["key"] for card in cards_of(page.parent)]


def test_first_images_of_each_class_by_key(tmp_path: Path) -> None:
    data = fakes.FakeData()
    fakes.trainer(tmp_path, ReportGallery(images_per_class=2)).test(fakes.module(), datamodule=data, verbose=False)
    samples = [data.sample(n) for n in range(fakes.IMAGES)]
    expected = [key for label in range(3) for key in sorted(s["key"] for s in samples if s["label"] == label)[:2]]
    assert keys(tmp_path / "report" / "index.html") == expected


def test_holds_the_metrics_and_escapes_class_names(tmp_path: Path) -> None:
    run = fakes.trainer(tmp_path, ReportGallery(images_per_class=1))
    metrics = run.test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)[0]
    html = (tmp_path / "report" / "index.html").read_text(encoding="utf-8")
    assert f"<dt>mean</dt><dd><b>{number(metrics['test/mean'])}</b>" in html
    assert "&lt;b&gt;gull&lt;/b&gt; &amp; co" in html
    assert "<b>gull</b>" not in html


def test_the_head_tells_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["train.py", "test", "-c", "my run.yaml"])
    data = fakes.FakeData()
    run, module = fakes.trainer(tmp_path, ReportGallery()), fakes.module()
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    run.test(module, datamodule=data, verbose=False)
    html = unescape((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    batches = [(batch["label"], fakes.module().eval().explainer.explain(batch["image"])) for batch in data.loader()]
    right = sum(int((labels == explanation.prediction).sum()) for labels, explanation in batches)
    assert f"<dt>Accuracy</dt><dd>{100 * right / fakes.IMAGES:.1f} % of {fakes.IMAGES} tested images</dd>" in html
    assert "<dt>Command</dt><dd>python train.py test -c 'my run.yaml'</dd>" in html
    assert "<dt>Seed</dt><dd>7</dd>" in html
    assert "<dt>Classes</dt><dd>3: loon, tern, <b>gull</b> & co</dd>" in html


def test_texts_are_those_of_the_explainer(tmp_path: Path) -> None:
    module = fakes.module()
    module.explainer.heatmap_texts = lambda: HeatmapTexts("It shows <all>.", "strength", "s")  # type: ignore[assignment]
    fakes.trainer(tmp_path, ReportGallery()).test(module, datamodule=fakes.FakeData(), verbose=False)
    html = unescape((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    assert "It shows <all>. The figure beside it is strength, s." in html
    assert "vᵢEᵢ" not in html


def test_images_have_what_the_module_has_measured_of_them(tmp_path: Path) -> None:
    class Measuring(fakes.FakeModule):
        def test_step(self, batch: Any) -> Any:
            explanation = super().test_step(batch)
            values = {
                "darkness": 1 - batch["image"].mean(dim=(1, 2, 3)),
                "none": torch.full((len(explanation),), torch.nan),
            }
            self.measured = {"": SimpleNamespace(keys=batch["key"], targets=explanation.target.tolist(), values=values)}
            return explanation

    data = fakes.FakeData()
    fakes.trainer(tmp_path, ReportGallery()).test(Measuring(), datamodule=data, verbose=False)
    images = {sample["key"]: sample["image"] for sample in map(data.sample, range(fakes.IMAGES))}
    for card in cards_of(tmp_path / "report"):
        assert card["metrics"] == {"darkness": pytest.approx(float(1 - images[card["key"]].mean()), abs=1e-5)}


def test_multi_label_images_count_for_each_class(tmp_path: Path) -> None:
    data = fakes.FakeData(multi_label=True)
    fakes.trainer(tmp_path, ReportGallery(images_per_class=2)).test(fakes.module(), datamodule=data, verbose=False)
    samples = [data.sample(n) for n in range(fakes.IMAGES)]
    expected = {key for c in range(3) for key in sorted(s["key"] for s in samples if s["label"][c])[:2]}
    shown = keys(tmp_path / "report" / "index.html")
    assert set(shown) == expected
    assert len(shown) == len(expected)


def test_a_second_run_replaces_the_first_whole(tmp_path: Path) -> None:
    for count in (3, 1):
        run = fakes.trainer(tmp_path, ReportGallery(images_per_class=count))
        run.test(fakes.module(), datamodule=fakes.FakeData(), verbose=False)
    assert len(keys(tmp_path / "report" / "index.html")) == 3
    assert len(list((tmp_path / "report" / "images").glob("????.webp"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_the_path_is_the_last_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.trainer(tmp_path, ReportGallery()).test(fakes.module(), datamodule=fakes.FakeData())
    lines = capsys.readouterr().out.strip().splitlines()
    assert any("test/mean" in line for line in lines[:-1])
    assert lines[-1] == f"Report: {tmp_path / 'report' / 'index.html'}"


def test_fitting_tells_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fakes.trainer(tmp_path, ReportGallery(), max_epochs=1).fit(fakes.module(), datamodule=fakes.FakeData())
    assert "Report" not in capsys.readouterr().out
    assert not (tmp_path / "report").exists()


def test_needs_an_explanation(tmp_path: Path) -> None:
    class Silent(fakes.FakeModule):
        def test_step(self, batch: Any) -> torch.Tensor:  # type: ignore[override]  # what is to be refused
            return batch["image"].sum()

    with pytest.raises(ValueError, match="ReportGallery needs a test_step that returns an Explanation, got Tensor"):
        fakes.trainer(tmp_path, ReportGallery()).test(Silent(), datamodule=fakes.FakeData(), verbose=False)


def test_needs_a_datamodule(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ReportGallery needs a datamodule"):
        fakes.trainer(tmp_path, ReportGallery()).test(fakes.module(), fakes.FakeData().loader(), verbose=False)


def test_images_per_class_below_one() -> None:
    with pytest.raises(ValueError, match=r"^images_per_class is 0; give "):
        ReportGallery(images_per_class=0)


def test_true_classes() -> None:
    assert list(true_classes(torch.tensor([2, 0]))) == [(2,), (0,)]
    assert list(true_classes(torch.tensor([[0.0, 1, 1], [0, 0, 0]]))) == [(1, 2), ()]


def test_compact_changes_no_picture() -> None:
    explanation = fakes.module().explainer.eval().explain(fakes.FakeData().panel(2)["image"])
    tiny = explanation.heatmaps * 1e-9  # would vanish in half precision
    tiny[0, 0], tiny[0, 1, 0, 0] = 0, float("nan")
    small = compact(type(explanation)(**{**vars(explanation), "heatmaps": tiny})).heatmaps
    assert small.dtype == torch.half
    assert positive_strength(small[0, 0]) is None
    assert positive_strength(small[0, 1]) is None
    expected, found = positive_strength(tiny[1, 2]), positive_strength(small[1, 2])
    assert expected is not None
    assert found is not None
    assert torch.allclose(expected, found, atol=2e-3)


def test_two_processes_write_the_report_of_one(two_runs: tuple[Path, Path]) -> None:
    one, two = (folder / "report" for folder in two_runs)
    assert keys(one / "index.html") == keys(two / "index.html")
    assert len(keys(two / "index.html")) == 6
    files = [sorted(path.relative_to(report) for path in report.rglob("*.webp")) for report in (one, two)]
    assert files[0] == files[1]
    assert all((one / path).read_bytes() == (two / path).read_bytes() for path in files[0])
    assert (two_runs[1] / "stdout.txt").read_text().count("Report: ") == 1
