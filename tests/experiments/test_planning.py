"""Plans: order of overrides, places that are filled in, runs over values."""

from pathlib import Path

import pytest

from experiments.planning import Places, expanded_names, planned_runs
from experiments.reading import FOLDER, read_experiment
from tests.helpers.experiment_files import experiment_of, options_of, places_in, write_experiment


def test_overrides_come_in_order_and_a_tiny_set_has_the_last_word(tmp_path: Path) -> None:
    run = {"configs": ["a.yaml", "${out}/b.yaml"], "set": {"x": 2, "list+": [{"k": None}]}, "tiny": {"x": 4}}
    experiment = experiment_of(tmp_path, common={"x": 1, "y": "text"}, tiny={"x": 3}, runs={"first": run})
    (usual,), (tiny,) = (
        planned_runs(experiment, places_in(tmp_path)),
        planned_runs(experiment, places_in(tmp_path, tiny=True)),
    )
    folder = f"--trainer.default_root_dir={tmp_path}/out/paper2020/table/first"
    set_words = ["--x=1", "--y=text", "--x=2", '--list+=[{"k": null}]']
    assert list(usual.arguments) == ["-c", "a.yaml", "-c", f"{tmp_path}/out/b.yaml", *set_words, folder]
    assert list(tiny.arguments) == [*usual.arguments[:-1], "--x=3", "--x=4", folder]


def test_places_are_filled_in_and_say_what_a_run_reads(tmp_path: Path) -> None:
    second = {"set": {"a": ["${data}/CUB", {"b": "${run:first}/w"}], "c": "${oc.env:HOME}"}}
    experiment = experiment_of(tmp_path, runs={"first": {}, "second": second})
    options = options_of(planned_runs(experiment, places_in(tmp_path))[1].arguments)
    first = f"{tmp_path}/out/paper2020/table/first"
    assert options["a"] == f'["{tmp_path}/data/CUB", {{"b": "{first}/w"}}]'
    assert options["c"] == "${oc.env:HOME}"
    assert planned_runs(experiment, places_in(tmp_path))[1].needs == ["first"]
    with pytest.raises(ValueError, match=r"runs\.second reads the run 'frist'.*first"):
        planned_runs(
            experiment_of(tmp_path, runs={"first": {}, "second": {"set": {"a": "${run:frist}"}}}), places_in(tmp_path)
        )


def test_a_run_over_values_stands_for_several(tmp_path: Path) -> None:
    runs = {
        "first": {"over": {"seed": [0, 1], "net": ["a/b"]}},
        "second": {"over": {"seed": [0, 1]}, "set": {"w": "${run:first-${each}-a_b}"}},
    }
    experiment = experiment_of(tmp_path, runs=runs)
    assert expanded_names(experiment, "first") == ["first-0-a_b", "first-1-a_b"]
    planned = planned_runs(experiment, places_in(tmp_path))
    assert [one.name for one in planned] == ["first-0-a_b", "first-1-a_b", "second-0", "second-1"]
    assert options_of(planned[1].arguments)["seed"] == "1"
    assert options_of(planned[1].arguments)["net"] == "a/b"
    assert planned[3].needs == ["first-1-a_b"]


def test_shards_of_imagenet_are_shared_by_the_same_images_alone() -> None:
    """Such as those without the blacklisted ones; of the files that have shards of ImageNet."""
    images: dict[str, set[tuple[str | None, ...]]] = {}
    for path in (path for path in FOLDER.glob("*/*.yaml") if "shards/imagenet" in path.read_text(encoding="utf-8")):
        for planned in planned_runs(read_experiment(path), Places(Path("data"), Path("out"))):
            options = options_of(planned.arguments)
            decide = tuple(
                options.get(f"data.init_args.{key}") for key in ("root", "blacklist", "classes", "per_class")
            )
            images.setdefault(options.get("data.init_args.shards", planned.name), set()).add(decide)
    assert {"out/shards/imagenet", "out/shards/imagenet_5"} < set(images)
    assert {shards: decide for shards, decide in images.items() if len(decide) > 1} == {}


def test_runs_that_are_read_come_first(tmp_path: Path) -> None:
    runs = {"second": {"set": {"w": "${run:first}"}}, "third": {}, "first": {"common": False}}
    experiment = experiment_of(tmp_path, runs=runs, common={"x": 1}, tiny={"x": 2})
    planned = planned_runs(experiment, places_in(tmp_path, tiny=True))
    assert [one.name for one in planned] == ["first", "second", "third"]
    assert "x" not in options_of(planned[0].arguments)
    assert options_of(planned[2].arguments)["x"] == "2"
    runs = {"a": {"set": {"w": "${run:b}"}}, "b": {"set": {"w": "${run:a}"}}}
    with pytest.raises(ValueError, match="the run a reads itself, by a → b → a"):
        planned_runs(experiment_of(tmp_path, runs=runs), places_in(tmp_path))


def test_only_runs_that_are_taken_lie_in_the_other_experiments_folder(tmp_path: Path) -> None:
    """Not those of their own that the other experiment has too, by a run or by its values."""
    write_experiment(tmp_path, "shared", runs={"net": {"over": {"seed": [0, 1]}}, "heads": {}, "methods": {}})
    experiment = experiment_of(tmp_path, runs={"net": {"of": "shared"}, "heads": {}, "methods": {"over": {"n": [3]}}})
    places, out = places_in(tmp_path), tmp_path / "out/paper2020"
    assert places.run_folder(experiment, "net-1") == out / "shared/net-1"
    for own in ("heads", "methods-3", "methods", "choices/heads/0-0"):
        assert places.run_folder(experiment, own) == out / "table" / own
    folders = {
        one.name: options_of(one.arguments)["trainer.default_root_dir"] for one in planned_runs(experiment, places)[2:]
    }
    assert folders == {"heads": str(out / "table/heads"), "methods-3": str(out / "table/methods-3")}
