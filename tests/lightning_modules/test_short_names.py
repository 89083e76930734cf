"""Short names of models on the command line."""

import pytest

import lightning_modules
from lightning_modules.short_names import explainer_names, method_names, model_words, with_model_words


def test_each_name_stands_for_one_model() -> None:
    names = [*explainer_names(), *method_names()]
    words = [tuple(model_words(name)) for name in names]
    assert len(set(words)) == len(names) >= 28
    assert {one[0].removeprefix("--model=") for one in words} <= set(lightning_modules.__all__)


@pytest.mark.parametrize("name", ["mu_lasso", "MuLasso", "μ-lasso", "MU-LASSO"])
def test_case_and_hyphens_do_not_matter(name: str) -> None:
    assert model_words(name) == ["--model=MuLassoModule"]


def test_short_names_of_methods_bring_their_arguments() -> None:
    options = "--model.init_args.attribution"
    arguments = f'{options}.arguments={{"contrastive": true}}'
    assert model_words("EBP") == ["--model=AttributionModule", f"{options}.method=ExcitationBackprop", arguments]


def test_both_ways_of_giving_a_value() -> None:
    words = ["fit", "-c", "SRAE", "--model", "srae", "--model.init_args.srae.layer", "SRAE", "--model=grad_cam", "SRAE"]
    options = "--model.init_args.attribution"
    method = ["--model=AttributionModule", f"{options}.method=GradCAM", f"{options}.arguments={{}}"]
    assert with_model_words(words) == [*words[:3], "--model=SRAEModule", *words[5:7], *method, "SRAE"]
    kept = ["--model=a.b.C", "--model=configs/model/srae.yaml", "--model=SRAEModul", "--model="]
    assert with_model_words(kept) == kept
    assert with_model_words(["--model"]) == ["--model"]
