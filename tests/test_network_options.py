"""What a network can be given beside its layers: whitening, views, rows that skip blocks, layers of low rank or shared."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import steepest
from steepest.forms import Form
from steepest.models.networks import SkipRows
from steepest.models.whitening import SIDE, Views, Whiten
from steepest.training.setup import prepare

IMAGE, TEXT = Form("image", (1, 8, 8)), Form("text", (12,), vocabulary=30)
WHITENED = steepest.residual_cnn(width=4, stages=2, whiten=True)
RECIPE = steepest.Recipe(steepest.adamw(0.01), batch=64, epochs=1, augment=())


def digits(model: steepest.ModelSpec) -> steepest.Task:
    return steepest.Task("digits", model=model)


def patches(x: Tensor) -> Tensor:
    return nn.functional.unfold(x, SIDE).transpose(1, 2).flatten(0, 1)


def test_whitened_patches_vary_alike_and_independently() -> None:
    training = prepare(digits(WHITENED), RECIPE)
    rows = training.train.take(torch.arange(1024))[0]
    (layer,) = [module for module in training.model.modules() if isinstance(module, Whiten)]
    half = layer.filters.flatten(1).chunk(2)
    assert torch.equal(half[0], -half[1])
    found = (patches(rows) @ half[0].T).T.cov()
    varied = patches(rows).T.cov().trace() / SIDE**2 > 0
    assert varied
    assert (found - torch.diag(found.diagonal())).abs().max() < 1e-2
    assert found.diagonal().min() > 0.9
    assert found.diagonal().max() < 1.01


def test_a_whitened_beginning_is_not_trained_and_comes_back_from_a_record(tmp_path: Path) -> None:
    run = steepest.fit(digits(WHITENED), RECIPE, home=tmp_path, progress=False)
    began = prepare(digits(WHITENED), RECIPE).model.state_dict()["0.filters"]
    assert torch.equal(run.model.state_dict()["0.filters"], began)
    again = steepest.load_run(run.id, home=tmp_path)
    assert torch.equal(again.model.state_dict()["0.filters"], began)
    x = torch.randn(6, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.model.eval()(x), run.model.eval()(x))


def test_an_answer_is_the_mean_over_views() -> None:
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    x = torch.randn(5, 1, 8, 8)
    two, six = Views(inner, 2), Views(inner, 6)
    assert torch.equal(two(x), inner(x))  # in training the image alone
    assert torch.allclose(two.eval()(x), (inner(x) + inner(x.flip(3))) / 2, atol=1e-6)
    padded = nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
    views = [x, padded[:, :, :8, :8], padded[:, :, 2:, 2:]]
    by_hand = torch.stack([inner(view) for each in views for view in (each, each.flip(3))]).mean(dim=0)
    assert torch.allclose(six.eval()(x), by_hand, atol=1e-6)


def test_views_are_part_of_what_a_run_answers() -> None:
    spec = steepest.residual_cnn(width=4, stages=1, views=2)
    run = steepest.fit(digits(spec), RECIPE, record=False, progress=False)
    x = torch.randn(6, 1, 8, 8)
    with torch.no_grad():
        assert torch.allclose(run.model(x), run.model(x.flip(3)), atol=1e-5)


def test_convolutions_begin_as_copies_of_their_inputs() -> None:
    network = steepest.residual_cnn(width=4, stages=1, init="dirac").build(IMAGE, 3)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            x = torch.randn(2, layer.in_channels, 8, 8)
            assert torch.allclose(layer(x)[:, : layer.in_channels], x, atol=1e-6)


def test_rows_skip_a_block_in_training_alone() -> None:
    torch.manual_seed(0)
    skip, x = SkipRows(0.25), torch.ones(4000, 2, 3)
    out = skip(x)
    assert out.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert bool(((out == 0).flatten(1).all(1) | (out != 0).flatten(1).all(1)).all())  # a row as a whole
    assert float(out.mean()) == pytest.approx(1.0, abs=0.05)
    assert torch.equal(skip.eval()(x), x)


def test_deeper_blocks_are_skipped_more() -> None:
    network = steepest.residual_cnn(width=4, stages=2, blocks=2, stochastic_depth=0.4).build(IMAGE, 3)
    shares = [module.p for module in network.modules() if isinstance(module, SkipRows)]
    assert shares == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_a_network_that_is_given_keeps_what_it_whitens_by() -> None:
    trained = prepare(digits(WHITENED), RECIPE).model
    trained[0].filters.zero_()  # type: ignore[index,operator,union-attr]
    again = prepare(steepest.Task("digits", model=trained), RECIPE).model
    assert not again.state_dict()["0.filters"].any()


def test_layers_of_low_rank_are_smaller_and_keep_the_scale() -> None:
    whole, low = (steepest.mlp((256, 256), rank=rank).build((300,), 2) for rank in (None, 16))
    assert sum(p.numel() for p in low.parameters()) < sum(p.numel() for p in whole.parameters()) / 5
    x = torch.randn(512, 300)
    scales = [float(network[:-1](x).detach().square().mean().sqrt()) for network in (whole, low)]  # type: ignore[index]
    assert scales[1] == pytest.approx(scales[0], rel=0.5)
    assert repr(steepest.mlp((8,), rank=16).build((300,), 2)) == repr(steepest.mlp((8,)).build((300,), 2))  # no narrower


def test_shared_layers_are_one_applied_again() -> None:
    torch.manual_seed(0)
    shared = steepest.transformer(width=16, layers=3, heads=2, shared=True).build(TEXT, 3).eval()
    apart = steepest.transformer(width=16, layers=3, heads=2).build(TEXT, 3).eval()
    state = shared.state_dict()
    many = {name.replace("blocks.0", f"blocks.{i}"): value for i in range(3) for name, value in state.items()}
    apart.load_state_dict(many)
    x = torch.randint(1, 30, (4, 12))
    assert torch.allclose(shared(x), apart(x), atol=1e-6)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("residual_cnn(views=3)", "views must be 1, 2 or 6"),
        ("residual_cnn(whiten=1)", "whiten must be True or False"),
        ("residual_cnn(init='he')", "init must be"),
        ("residual_cnn(stochastic_depth=1.0)", "stochastic_depth must be"),
        ("mlp((8,), rank=0)", "rank must be a whole number"),
        ("transformer(shared='yes')", "shared must be True or False"),
    ],
)
def test_options_that_cannot_be_are_told_in_a_line(text: str, told: str) -> None:
    with pytest.raises(steepest.InputError) as caught:
        steepest.parse_recipe(f"Recipe(adam(), model={text})")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sounds_are_not_whitened() -> None:
    with pytest.raises(steepest.InputError, match="leave whiten and views out"):
        WHITENED.build(Form("sound", (20, 8)), 3)
