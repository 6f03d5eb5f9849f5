"""Networks: built for every form they claim, blind to padding and to the future, and trainable however deep."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import steepest
from benchmarks.depth import NETWORKS, rms, scales
from steepest.forms import Form
from steepest.models.cost import cost, example
from steepest.recipes import read

TABLE, CODED = Form("table", (5,)), Form("table", (5,), codes=((1, 7), (4, 30)))
MEASURED = Form("table", (5,), codes=((1, 7),), numbers=(0, 3))
ARRAY, IMAGE, ITEMS = Form("array", (6,)), Form("image", (3, 12, 12)), Form("items", (6,))
TEXT, LANGUAGE = Form("text", (20,), vocabulary=50), Form("language", (20,), vocabulary=50)
SPELLED = Form("text", (20, 9), vocabulary=50, spelled=True)
SAID = Form("sound", (20, 8), each_step=True)
SERIES, SOUND, STEPS = Form("series", (20, 4)), Form("sound", (20, 8)), Form("array", (20, 4))
FLAT = (TABLE, CODED, MEASURED, ARRAY, ITEMS, IMAGE, SERIES, STEPS)
IN_TIME = (TEXT, LANGUAGE, SERIES, SOUND, SAID, STEPS)
CLAIMS: dict[steepest.ModelSpec, tuple[Form, ...]] = {
    steepest.linear_model(): (*FLAT, TEXT),
    steepest.additive_model(width=8): FLAT,
    steepest.mlp((16, 16), norm="layer", activation="gelu"): (*FLAT, TEXT),
    steepest.mlp((16, 16), residual=True, init="orthogonal", dropout=0.1): (*FLAT, TEXT),
    steepest.mlp((16,), waves=3): (TABLE, CODED, MEASURED),
    steepest.residual_cnn(width=4, stages=2): (IMAGE, SERIES, SOUND, STEPS),
    steepest.residual_cnn(width=4, stages=2, stochastic_depth=0.2, init="dirac"): (IMAGE, SERIES, SOUND, STEPS),
    steepest.residual_cnn(width=4, stages=2, whiten=True, views=6): (IMAGE,),
    steepest.mlp((16, 16), rank=3): (*FLAT, TEXT),
    steepest.transformer(width=16, layers=3, heads=2, shared=True): IN_TIME,
    steepest.rnn(width=12): IN_TIME,
    steepest.lstm(width=12, layers=2, dropout=0.1): IN_TIME,
    steepest.gru(width=12): IN_TIME,
    steepest.gru(width=12, layers=2, bidirectional=True): (TEXT, SERIES, SOUND, SAID, STEPS),
    steepest.transformer(width=16, layers=2, heads=2, dropout=0.1): IN_TIME,
    steepest.lstm(width=12, embedding=8, ngrams=3, buckets=64): (TEXT, LANGUAGE),
    steepest.transformer(width=16, layers=1, heads=2, ngrams=3, buckets=64): (TEXT, LANGUAGE),
    steepest.bag_of_words(): (TEXT, SPELLED),
    steepest.bag_of_words(width=8, ngrams=2, subwords=32, buckets=64, dropout=0.1): (TEXT, SPELLED),
    steepest.bag_of_words(width=8, subwords=0, buckets=64): (TEXT,),
    steepest.text_cnn(width=8, filters=5): (TEXT,),
}
BUILT = [(spec, form) for spec, forms in CLAIMS.items() for form in forms]
ALL = dict.fromkeys((*FLAT, *IN_TIME, SPELLED))


def kind_or_repr(value: object) -> str:
    return value.kind if isinstance(value, Form) else repr(value)


def built(spec: steepest.ModelSpec, form: Form, outputs: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return spec.build(form, outputs)


def rows(form: Form, count: int = 4, seed: int = 0) -> Tensor:
    """Rows of a form without padding: tokens from 1 on, numbers, and numbers of categories in coded columns."""
    generator = torch.Generator().manual_seed(seed)
    if form.is_tokens:
        return torch.randint(1, form.vocabulary, (count, *form.shape), generator=generator)
    x = torch.randn(count, *form.shape, generator=generator)
    for column, categories in form.codes:
        x[:, column] = torch.randint(0, categories, (count,), generator=generator).float()
    return x


# -- what every network does ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spec", "form"), BUILT, ids=kind_or_repr)
def test_networks_give_what_is_asked_for_and_learn_in_every_parameter(spec: steepest.ModelSpec, form: Form) -> None:
    net, x = built(spec, form), rows(form)
    answer = net(x)
    assert answer.shape == ((4, 20, 3) if form.each_step else (4, 3))
    answer.square().sum().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
    assert net.eval()(x[:1]).shape[0] == 1
    again = built(spec, form)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("spec", CLAIMS, ids=repr)
def test_networks_print_as_the_text_that_makes_them(spec: steepest.ModelSpec) -> None:
    assert read(repr(spec)) == spec


@pytest.mark.parametrize("spec", CLAIMS, ids=repr)
def test_a_form_that_does_not_fit_is_told_in_one_line(spec: steepest.ModelSpec) -> None:
    for form in ALL:
        if form not in CLAIMS[spec] and not (form.kind == "language" and getattr(spec, "bidirectional", False)):
            with pytest.raises(steepest.InputError) as caught:
                spec.build(form, 3)
            assert "\n" not in str(caught.value)
    if getattr(spec, "bidirectional", False):
        with pytest.raises(steepest.InputError, match="cannot be read backwards"):
            spec.build(LANGUAGE, 3)


def test_numbers_as_waves_are_their_formula() -> None:
    net, x = built(steepest.mlp((), waves=3), MEASURED), rows(MEASURED)
    state = net.state_dict()
    frequency, weight, bias = (state[f"0.waves.{name}"] for name in ("frequency_NK", "weight_NKD", "bias"))
    found = [x[:, [0, 2, 3, 4]], state["0.tables.0.weight"][x[:, 1].long()]]
    for i, column in enumerate(MEASURED.numbers):
        angles = 2 * math.pi * x[:, column, None] * frequency[i]
        found.append(torch.relu(torch.cat([angles.sin(), angles.cos()], dim=1) @ weight[i] + bias[8 * i : 8 * i + 8]))
    wanted = torch.cat(found, dim=1) @ state["1.weight"].T + state["1.bias"]
    torch.testing.assert_close(net(x), wanted, rtol=1e-5, atol=1e-5)


def test_measured_numbers_of_a_table_are_known_where_they_are_scaled() -> None:
    table = {
        "a": [1.0, 2.0, None, 4.0] * 30,
        "b": list("xyzx") * 30,
        "c": [3.5, 1.0, 2.0, 8.0, 9.0, 7.0] * 20,
        "label": [0, 1] * 60,
    }
    form = steepest.read_table(table, "label").form
    columns = {"a": 0, "a is missing": 1, "c": form.shape[0] - 1}
    assert form.numbers == (columns["a"], columns["c"])
    assert Form.from_dict(form.to_dict()) == form
    assert steepest.read_table(table, "label", scaling="none").form.numbers == ()


@pytest.mark.parametrize("form", ALL, ids=kind_or_repr)
def test_every_form_has_a_default_network_at_every_size(form: Form) -> None:
    from steepest.models import default_model

    for count in (100, 5_000, 50_000):
        assert default_model(form, count).build(form, 2)(rows(form)).shape[-1] == 2


def test_the_default_follows_the_rows_and_the_network() -> None:
    from steepest.defaults import default_recipe
    from steepest.models import default_model

    for rows, words in ((100, "epochs=40"), (1_000, "epochs=15"), (5_000, "patience=5"), (50_000, "muon")):
        assert words in repr(default_recipe(MEASURED, rows))
        assert default_recipe(MEASURED, rows) == default_recipe(MEASURED, rows, default_model(MEASURED, rows))
        assert "muon" not in repr(default_recipe(MEASURED, rows, steepest.linear_model()))
    assert [default_model(MEASURED, rows).waves for rows in (1_000, 5_000, 50_000)] == [0, 16, 32]  # type: ignore[attr-defined]
    many = Form("table", (100,), numbers=tuple(range(100)))
    assert [default_model(many, rows).waves for rows in (5_000, 50_000)] == [0, 0]  # type: ignore[attr-defined]
    assert "muon" not in repr(default_recipe(IMAGE, 500, steepest.additive_model()))
    coded = Form("table", (2,), codes=((1, 120),), numbers=(0,))
    assert [default_model(coded, rows).lookup for rows in (1_000, 5_000, 50_000)] == [2, None, None]  # type: ignore[attr-defined]


def test_a_category_is_at_most_as_many_numbers_as_asked_and_they_begin_near_zero() -> None:
    form = Form("table", (2,), codes=((1, 120),), numbers=(0,))
    free, few, none_fewer = (steepest.mlp((8,), lookup=most).build(form, 1)[0] for most in (None, 2, 99))  # type: ignore[index]
    assert [net.tables[0].embedding_dim for net in (free, few, none_fewer)] == [23, 2, 23]
    assert float(few.tables[0].weight.detach().std()) == pytest.approx(0.1 / 2**0.5, rel=0.3)
    with pytest.raises(steepest.InputError, match="lookup must be"):
        steepest.mlp(lookup=0)


PADDED = [(spec, form) for spec, form in BUILT if form in (TEXT, SPELLED, SOUND)]


@pytest.mark.parametrize(("spec", "form"), PADDED, ids=kind_or_repr)
def test_padding_never_changes_an_answer(spec: steepest.ModelSpec, form: Form) -> None:
    net = built(spec, form).eval()
    x = rows(form, 1)[:, :9]
    if form.kind == "sound":
        x[:, 4] = 0  # a step of silence is no padding
    alone = net(x)
    for longer in (10, 20, 60):
        padded = torch.zeros(2, longer, *x.shape[2:], dtype=x.dtype)
        padded[0, :9] = x[0]
        padded[1] = padded[1] + 1
        torch.testing.assert_close(net(padded)[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("spec", "form"), PADDED, ids=kind_or_repr)
def test_an_empty_row_has_a_finite_answer_and_gradient(spec: steepest.ModelSpec, form: Form) -> None:
    net, x = built(spec, form), rows(form)
    x[1] = 0
    answer = net(x)
    answer.square().sum().backward()
    assert (answer.abs() < 100).all()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


@pytest.mark.parametrize("spec", [spec for spec, form in BUILT if form is LANGUAGE], ids=repr)
def test_language_models_never_see_the_future(spec: steepest.ModelSpec) -> None:
    net, x = built(spec, LANGUAGE).eval(), rows(LANGUAGE)
    before = net(x)
    for step in (1, 10, 19):
        changed = x.clone()
        changed[:, step:] = changed[:, step:] % 49 + 1
        after = net(changed)
        torch.testing.assert_close(after[:, :step], before[:, :step], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(after[:, step], before[:, step])


def test_a_transformer_that_is_no_language_model_sees_all_of_a_row() -> None:
    net, x = built(steepest.transformer(width=16, layers=1, heads=2), STEPS).eval(), rows(STEPS)
    x.requires_grad_()
    net(x).sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(dim=(0, 2)) > 0).all()


# -- what they cost ---------------------------------------------------------------------------------------------------


def by_hand() -> list[tuple[Any, Form, int, int]]:
    """Network, form, parameters and FLOP a row, 3 outputs each, by arithmetic."""
    mlp = (6 * 16 + 16 + 16 * 8 + 8 + 8 * 3 + 3, 2 * (6 * 16 + 16 * 8 + 8 * 3))
    # stem 3 -> 4 and convolution 4 -> 8 at 12 x 12, residual block at 6 x 6, linear
    weights = 9 * 3 * 4, 9 * 4 * 8, 9 * 8 * 8, 8 * 3
    norms = 2 * (4 + 8 + 8)
    cnn = sum(weights) + norms + 3, 2 * (144 * (weights[0] + weights[1]) + 36 * weights[2] + weights[3])
    # read 4 -> 8, four gates of 8 from 8 and 8 over 20 steps, twice, linear from three times 8
    lstm = 4 * 8 + 8 + 2 * 4 * (8 * 8 + 8 * 8 + 8 + 8) + 24 * 3 + 3, 2 * 20 * 32 + 2 * 20 * 2 * 4 * 8 * (8 + 8) + 2 * 72
    # tokens 50 x 16, two blocks of 3 + 1 + 4 + 4 squares of 16 and attention, linear
    block = 12 * 256 + 4 * 16 + 16 + 4 * 16
    transformer = 50 * 16 + 2 * block + 2 * 16 + 16 * 3 + 3, 2 * (2 * 20 * 12 * 256 + 4 * 20 * 20 * 16) + 2 * 48
    return [
        (steepest.mlp((16, 8)), ARRAY, *mlp),
        (steepest.residual_cnn(width=4, stages=1), IMAGE, *cnn),
        (steepest.lstm(width=8, layers=2), STEPS, *lstm),
        (steepest.transformer(width=16, layers=2, heads=2), TEXT, *transformer),
        (nn.GRU(4, 8, bidirectional=True, batch_first=True), STEPS, 2 * 3 * 8 * (4 + 8 + 2), 2 * 20 * 2 * 3 * 8 * (4 + 8)),
        (nn.ConvTranspose1d(20, 6, 5, stride=2), STEPS, 20 * 6 * 5 + 6, 2 * 20 * 4 * 6 * 5),
        (steepest.additive_model(width=8), ARRAY, 6 * 8 * 2 + 6 * 8 * 3 + 3, 2 * 6 * 8 * 3),
    ]


@pytest.mark.parametrize(("model", "form", "parameters", "flops"), by_hand())
def test_cost_equals_arithmetic_by_hand(model: Any, form: Form, parameters: int, flops: int) -> None:
    found = cost(model, form, 3)
    assert (found.num_parameters, found.flops_a_row) == (parameters, flops)


def test_cost_of_torchs_own_layers() -> None:
    """An encoder layer: four projections of squares, two of four squares each, and attention."""
    layer = nn.TransformerEncoderLayer(16, 2, 64, batch_first=True)
    assert cost(layer, (20, 16)).flops_a_row == 2 * 20 * (4 * 256 + 2 * 16 * 64) + 4 * 20 * 20 * 16
    attention = nn.MultiheadAttention(16, 2, batch_first=True)

    class Over(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = attention

        def forward(self, x: Tensor) -> Tensor:
            return self.inside(x, x, x)[0]

    assert cost(Over(), (20, 16)).flops_a_row == 2 * 20 * 4 * 256 + 4 * 20 * 20 * 16


def test_cost_leaves_the_network_as_it_was_and_is_in_the_run() -> None:
    net = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4), nn.Linear(4, 3))
    net[1].eval()
    mean = net[1].running_mean.clone()  # type: ignore[union-attr,operator]
    assert str(cost(net, (4,))) == "23 parameters, 24 FLOP a row"
    assert [module.training for module in net] == [True, False, True]
    assert torch.equal(net[1].running_mean, mean)  # type: ignore[arg-type]
    with pytest.raises(steepest.InputError, match="cost takes a model such as"):
        cost("mlp", (4,))  # type: ignore[arg-type]
    run = steepest.fit(steepest.Task("iris", model=steepest.mlp((8,))), "adamw(0.01)", record=False)
    assert (run.facts["network"], run.facts["num_parameters"], run.facts["flops_a_row"]) == ("mlp(hidden=(8,))", 67, 112)
    assert example(CODED, net).tolist() == [[1, 0, 1, 1, 0]]


def test_a_network_that_cannot_be_counted_trains_all_the_same() -> None:
    class Pairs(nn.Linear):
        seen = 0

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1
            if self.seen in (2, 3):  # when its arithmetic and its memory are counted
                raise RuntimeError("only once")
            return super().forward(x)

    run = steepest.fit(steepest.Task("iris", model=lambda: Pairs(4, 3)), "adamw(0.01)", record=False)
    assert (run.facts["num_parameters"], run.facts["flops_a_row"]) == (15, None)


# -- depth: each row of the table in docs/networks.md -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["tanh, torch's init", "ReLU, torch's init"])
def test_under_torchs_init_gradients_vanish(name: str) -> None:
    _, shallow = scales(2, NETWORKS[name], seeds=1)
    _, deep = scales(16, NETWORKS[name], seeds=1)
    _, deepest = scales(64, NETWORKS[name], seeds=1)
    assert shallow > 0.3
    assert deep < 1e-2
    assert deepest < 1e-10


@pytest.mark.parametrize("depth", [8, 64])
@pytest.mark.parametrize("name", [name for name in NETWORKS if "torch" not in name and name != "ReLU, he, batch norm"])
def test_from_the_right_start_neither_activations_nor_gradients_vanish_or_explode(name: str, depth: int) -> None:
    activation, gradient = scales(depth, NETWORKS[name], seeds=3)
    low, high = (0.5, 2.0) if "residual" in name else (0.1, 5.0)
    assert low < activation < high
    assert (0.01 if name == "SiLU, he" else low) < gradient < high


def test_layer_norm_holds_scales_where_batch_norm_alone_explodes() -> None:
    """Yang et al., A Mean Field Theory of Batch Normalization, 2019, arXiv:1902.08129; skipping connections cure it."""
    activation, gradient = scales(64, NETWORKS["ReLU, torch's init, layer norm"], seeds=3)
    assert 0.5 < activation < 2
    assert 0.1 < gradient < 2
    assert scales(64, NETWORKS["ReLU, he, batch norm"], seeds=1)[1] > 1e3
    assert scales(64, NETWORKS["ReLU, torch's init, residual"], seeds=1)[0] > 1e3


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu", "tanh"])
def test_wide_layers_keep_scale_whatever_the_activation(activation: str) -> None:
    torch.manual_seed(0)
    net = steepest.mlp((512,) * 16, activation=activation).build((512,), 1)
    layers = list(net)[1:-1]  # type: ignore[call-overload]
    x, seen = torch.randn(64, 512), []
    with torch.inference_mode():
        for layer in layers:
            x = layer(x)
            seen += [] if isinstance(layer, nn.Linear) else [rms(x)]
    assert 0.5 < seen[-1] / seen[0] < 2


def test_sixty_four_layers_learn_digits_when_they_begin_right_and_not_when_they_do_not() -> None:
    recipe = steepest.Recipe(steepest.adamw(0.001), batch=64, epochs=4)
    found = {}
    for name, options in (("plain", {"init": "torch"}), ("cured", {"residual": True, "norm": "layer"})):
        model = steepest.mlp((64,) * 64, **options)  # type: ignore[arg-type]
        task = steepest.Task("digits", model=model, metrics=("accuracy",))
        found[name] = steepest.fit(task, recipe, record=False).metrics["accuracy"]
    assert found["plain"] < 0.2
    assert found["cured"] > 0.9


@pytest.mark.parametrize("form", [STEPS, LANGUAGE, TEXT], ids=lambda form: form.kind)
def test_a_transformer_of_sixty_four_layers_keeps_its_scale(form: Form) -> None:
    net, seen = built(steepest.transformer(width=32, layers=64, heads=2), form), []
    for block in net.blocks:  # type: ignore[union-attr]
        block.register_forward_hook(lambda module, given, out: seen.append(out) or out.retain_grad())
    answer = net(rows(form))
    answer.square().mean().backward()
    assert rms(answer) < 3
    assert rms(seen[-1]) / rms(seen[0]) < 10
    assert 0.5 < rms(seen[0].grad) / rms(seen[-1].grad) < 50


@pytest.mark.parametrize("cell", [steepest.rnn, steepest.gru, steepest.lstm])
def test_recurrent_networks_hold_out_over_five_hundred_steps(cell: Any) -> None:
    """States and gradients stay bounded, and every step is felt in the answer: it reads the mean and the peak of all states."""
    norms = {}
    for steps in (10, 500):
        x = torch.randn(8, steps, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
        net = built(cell(width=32), Form("array", (steps, 4)))
        answer = net(x)
        answer.square().mean().backward()
        assert rms(answer) < 2
        assert x.grad is not None
        assert rms(x.grad[:, 0]) > 1e-3 * rms(x.grad[:, -1])
        norms[steps] = max(rms(p.grad) for p in net.parameters() if p.grad is not None)
    assert 0.01 < norms[500] / norms[10] < 100


def recent_mean(steps: int = 100) -> steepest.Data:
    rng = np.random.default_rng(0)
    X = rng.normal(0, 1, (400, steps, 2)).astype("float32")
    return steepest.arrays(X, X[:, -10:, 0].mean(axis=1) * 3, kind="regression", scaling="none")


def exploding(gain: float, steps: int = 100) -> nn.Module:
    """A plain recurrent network whose recurrent weights are multiplied."""
    net = built(steepest.rnn(32), Form("array", (steps, 2)), 1)
    with torch.no_grad():
        net.layers.weight_hh_l0.mul_(gain)  # type: ignore[union-attr,operator]
    return net


def test_gradients_of_large_recurrent_weights_explode_with_the_steps() -> None:
    norms = {}
    for gain in (1.0, 2.0):
        for steps in (10, 200):
            net = exploding(gain, steps)
            net(torch.randn(16, steps, 2)).square().mean().backward()
            norms[gain, steps] = nn.utils.get_total_norm([p.grad for p in net.parameters() if p.grad is not None])
    assert norms[2.0, 200] > 1e3 * norms[2.0, 10]
    assert norms[1.0, 200] < 10 * norms[1.0, 10]


def test_clipping_cures_an_exploding_recurrent_network() -> None:
    task = steepest.Task(recent_mean(), model=lambda: exploding(1.5), metrics=("r2",))
    plain = steepest.fit(task, steepest.Recipe(steepest.sgd(0.1), batch=32, epochs=8), record=False)
    assert plain.facts["stepped_back"]
    clipped = steepest.chain(steepest.clip_global_norm(1.0), steepest.sgd(0.1))
    cured = steepest.fit(task, steepest.Recipe(clipped, batch=32, epochs=8), record=False)
    assert cured.status == "finished"
    assert cured.metrics["r2"] > 0.4


def test_a_run_is_left_out_in_training_with_all_longer_ones() -> None:
    from steepest.models.heads import Runs

    torch.manual_seed(0)
    runs = Runs(5, 1, ngrams=3, buckets=16, dropout=0.5)
    for table, value in zip((runs.tokens, *runs.runs), (100.0, 1.0, 10.0), strict=True):
        nn.init.constant_(next(table.parameters()), value)
    x = torch.randint(0, 5, (100, 100))
    found, counts = runs(x).unique(return_counts=True)
    assert found.tolist() == [100, 101, 111]
    torch.testing.assert_close(counts / 10_000, torch.tensor([0.5, 0.25, 0.25]), atol=0.03, rtol=0)
    assert runs.eval()(x).unique().tolist() == [111]
