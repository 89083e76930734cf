"""Configuration files named in others: beside them, among the shipped ones, or nowhere."""

from pathlib import Path

import pytest
import yaml

from vitrine.core.config_files import shipped_file, with_found_files, with_found_words


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    for name in ("data/birds.yaml", "model/heads.yaml", "start.yaml"):
        path = tmp_path / "a: clone #1" / "configs" / name  # which YAML would not take without quotes
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return tmp_path / "a: clone #1" / "configs"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own"


TEXT = "# mine\nmodel: {class_path: M, init_args: {file: [data/birds.yaml, names.yaml]}}\ndata: 'data/birds.yaml'  # mine\n"


def test_shipped_files_are_found(shipped: Path, own: Path) -> None:
    found = yaml.safe_load(text := with_found_files(TEXT, own, shipped))
    assert found["data"] == found["model"]["init_args"]["file"][0] == str(shipped / "data" / "birds.yaml")
    assert found["model"]["init_args"]["file"][1] == "names.yaml"
    assert text.count("# mine") == 2


@pytest.mark.parametrize(
    "text",
    [
        "data: &d data/birds.yaml\nx: *d\n",
        "b: &m {data: data/birds.yaml}\nx: {file: data/birds.yaml}\nc: *m\n",
        "data: !!str data/birds.yaml\n",
        "data: &d !!str 'data/birds.yaml'\nx: *d\n",
    ],
)
def test_anchors_aliases_and_tags_stay(text: str, shipped: Path, own: Path) -> None:
    def replaced(value: object) -> object:
        if isinstance(value, dict):
            return {key: replaced(one) for key, one in value.items()}
        return str(shipped / "data" / "birds.yaml") if value == "data/birds.yaml" else value

    assert yaml.safe_load(with_found_files(text, own, shipped)) == replaced(yaml.safe_load(text))


@pytest.mark.parametrize("text", ["data: ~/birds.yaml\n", "data: ${root}/birds.yaml\n"])
def test_what_is_resolved_later_stays(text: str, shipped: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(own))
    assert with_found_files(text, own, shipped) == text


def test_the_own_folder_goes_first(shipped: Path, own: Path) -> None:
    (own / "data" / "birds.yaml").write_text("{}")
    assert with_found_files(TEXT, own, shipped) == TEXT


@pytest.mark.parametrize(
    "text", ["", "a: [", "data: {class_path: X}", "[data/birds.yam]", "data: /absolute.yaml", "{1: 2}"]
)
def test_texts_that_name_none(text: str, shipped: Path, own: Path) -> None:
    assert with_found_files(text, own, shipped) == text


def test_a_file_that_is_nowhere(shipped: Path, own: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        with_found_files("data: data/bird.yaml", own, shipped)
    for told in (f"data: there is no file 'data/bird.yaml' in {own} or {shipped}", "did you mean data/birds.yaml"):
        assert told in str(error.value)


def test_words_of_a_command_line(shipped: Path, own: Path) -> None:
    options = ("-c", "--config", "--data")
    words = [
        "fit",
        "-c",
        "configs/start.yaml",
        "--data=data/birds.yaml",
        "--names",
        "start.yaml",
        "-c",
        "own/start.yaml",
    ]
    (own / "start.yaml").write_text("{}")
    start, birds = shipped / "start.yaml", shipped / "data" / "birds.yaml"
    assert with_found_words(words, options, shipped) == [
        "fit", "-c", str(start), f"--data={birds}", "--names", "start.yaml", "-c", "own/start.yaml"
    ]  # fmt: skip
    Path("start.yaml").write_text("{}")
    assert with_found_words(["-c", "start.yaml", "--data"], options, shipped) == ["-c", "start.yaml", "--data"]


def test_only_configurations_are_found(shipped: Path) -> None:
    (shipped / "weights.pth").touch()
    assert shipped_file("weights.pth", shipped) is None
    assert shipped_file(str(shipped / "nowhere.yaml"), shipped) is None
