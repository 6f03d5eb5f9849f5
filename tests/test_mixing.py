"""mixup and cutmix: rows and labels are mixed by one share, which is drawn by the row's key; losses take shares rightly."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

import steepest
from steepest.augmentations import Augmentation, Draws, Source, augmented
from steepest.data.parts import Part
from steepest.forms import Form

COUNT = 200
ROWS = torch.arange(COUNT)
CODES = ROWS % 4
MARKED = torch.zeros(COUNT, COUNT).fill_diagonal_(1.0)  # each row is known by its place


def table(form: Form | None = None, targets: Tensor = CODES, inputs: Tensor = MARKED) -> Source:
    form = form or Form("table", (inputs.shape[1],))
    return Source(Part("train", inputs, targets), form, 0 if targets.is_floating_point() else 4)


def mixed(source: Source, *augment: Augmentation, rows: Tensor = ROWS, seed: int = 0, epoch: int = 0) -> tuple[Tensor, Tensor]:
    return augmented(source, augment, seed, epoch, rows)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 4.0])
def test_shares_are_drawn_from_a_beta_distribution(alpha: float) -> None:
    shares = Draws(3, 1, torch.arange(20_000)).share(alpha).double().numpy()
    places = np.linspace(0.001, 0.999, 999)  # beyond, float32 rounds to 1, near 0 it does not
    found = np.searchsorted(np.sort(shares), places, side="right") / len(shares)
    assert np.abs(found - stats.beta(alpha, alpha).cdf(places)).max() < 1.63 / len(shares) ** 0.5  # Kolmogorov's bound at 1%
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)
    assert 0 <= shares.min() <= shares.max() <= 1


def test_other_rows_are_drawn_evenly_from_the_whole_part() -> None:
    others = Draws(0, 0, torch.arange(50_000)).other_rows(10)
    assert stats.chisquare(np.bincount(others.numpy(), minlength=10)).pvalue > 0.01
    both = others[::2] * 10 + others[1::2]
    assert stats.chisquare(np.bincount(both.numpy(), minlength=100)).pvalue > 0.01


def test_a_row_and_its_label_are_mixed_by_one_share_with_one_other_row() -> None:
    inputs, targets = mixed(table(), steepest.mixup(1.0))
    torch.testing.assert_close(inputs.sum(1), torch.ones(COUNT))
    assert ((inputs > 0).sum(1) <= 2).all()
    torch.testing.assert_close(targets, inputs @ F.one_hot(CODES, 4).float())  # so each place of the label is the same mixture
    assert (targets.sum(1) - 1).abs().max() < 1e-6
    own = inputs[ROWS, ROWS]
    assert stats.kstest(own[own < 1].numpy(), "uniform").pvalue > 0.01


@pytest.mark.parametrize("augment", [steepest.mixup(0.4), steepest.cutmix(1.0)], ids=repr)
def test_labels_too_depend_on_seed_epoch_and_row_alone(augment: Augmentation) -> None:
    images = torch.randn(COUNT, 2, 6, 5, generator=torch.Generator().manual_seed(0))
    source = Source(Part("train", images, CODES), Form("image", (2, 6, 5)), 4)
    every, labels = mixed(source, augment, epoch=2)
    for some in (ROWS[[7, 150, 3]], ROWS.flip(0), ROWS[4:5]):
        inputs, targets = mixed(source, augment, rows=some, epoch=2)
        assert torch.equal(inputs, every[some])
        assert torch.equal(targets, labels[some])
    assert not torch.equal(mixed(source, augment, epoch=3)[1], labels)
    assert not torch.equal(mixed(source, augment, seed=1, epoch=2)[1], labels)


def test_numbers_are_mixed_as_numbers() -> None:
    numbers = torch.randn(COUNT, 2, generator=torch.Generator().manual_seed(0))
    for wanted in (numbers, numbers[:, 0].contiguous()):
        inputs, targets = mixed(table(targets=wanted), steepest.mixup(0.3))
        torch.testing.assert_close(targets, inputs @ wanted)


def test_numbers_of_categories_are_one_rows_or_the_others() -> None:
    inputs = torch.stack([ROWS.float(), ROWS.float() + 1000, ROWS % 30.0], dim=1)
    found, _ = mixed(table(Form("table", (3,), codes=((1, 2000),)), inputs=inputs), steepest.mixup(1.0))
    assert torch.equal(found[:, 1], found[:, 1].round())
    own = found[:, 1] == inputs[:, 1]
    assert 0.4 < own.float().mean() < 0.6
    other = (found[:, 1] - 1000)[~own]  # the row that was mixed in: its numbers lie on the other side
    between = torch.minimum(ROWS[~own].float(), other) <= found[~own, 0]
    assert bool((between & (found[~own, 0] <= torch.maximum(ROWS[~own].float(), other))).all())


def test_the_other_image_comes_as_the_augmentations_before_have_changed_it() -> None:
    images = torch.randn(COUNT, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    source = Source(Part("train", images, CODES), Form("image", (1, 4, 4)), 4)
    before, _ = mixed(source, steepest.flip(alternating=False))
    found, _ = mixed(source, steepest.flip(alternating=False), steepest.mixup(1.0))
    draws = Draws(0, 0, ROWS, 1)
    others, share = draws.other_rows(COUNT), draws.share(1.0, 1)[:, None, None, None]
    torch.testing.assert_close(found, share * before + (1 - share) * before[others])


def test_a_rectangle_of_another_image_shares_the_label_by_area() -> None:
    images = (ROWS + 1.0)[:, None, None, None].expand(-1, 3, 8, 6)
    source = Source(Part("train", images, ROWS % 4), Form("image", (3, 8, 6)), 4)
    found, targets = mixed(source, steepest.cutmix(1.0))
    sizes = set()
    for row in range(COUNT):
        foreign = found[row, 0] != row + 1
        assert torch.equal(foreign, (found[row] != row + 1).all(0))
        sizes.add(int(foreign.sum()))
        if foreign.any():
            assert foreign.sum() == foreign.any(1).sum() * foreign.any(0).sum()
            assert len(found[row, 0][foreign].unique()) == 1
            other = int(found[row, 0][foreign][0]) - 1
            expected = torch.zeros(4)
            expected[row % 4] += 1 - foreign.float().mean()
            expected[other % 4] += foreign.float().mean()
            torch.testing.assert_close(targets[row], expected)
    assert len(sizes) > 15


def test_mixing_twice_mixes_mixtures() -> None:
    inputs, targets = mixed(table(), steepest.mixup(1.0), steepest.mixup(1.0))
    assert ((inputs > 0).sum(1) > 2).any()
    torch.testing.assert_close(targets, inputs @ F.one_hot(CODES, 4).float())


def test_sounds_of_unequal_length_are_mixed_to_the_longer() -> None:
    from steepest.data.gathering import Ragged

    lengths = 1 + ROWS % 7
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    # each frame holds its row's number
    frames = torch.repeat_interleave(ROWS + 1.0, lengths)[:, None].expand(-1, 2).contiguous()
    source = Source(Part("train", Ragged(frames, offsets), CODES), Form("sound", (7, 2)), 4)
    found, _ = mixed(source, steepest.mixup(1.0), rows=ROWS[:5])
    draws = Draws(0, 0, ROWS[:5])
    others, share = draws.other_rows(COUNT), draws.share(1.0, 1)
    for row, (other, own) in enumerate(zip(others.tolist(), share.tolist(), strict=True)):
        expected = own * (torch.arange(found.shape[1]) < lengths[row]) * (row + 1)
        expected = expected + (1 - own) * (torch.arange(found.shape[1]) < lengths[other]) * (other + 1)
        torch.testing.assert_close(found[row, :, 0], expected)


# -- losses of shares ---------------------------------------------------------------------------------------------------

RNG = torch.Generator().manual_seed(0)
X = np.random.default_rng(0).normal(0, 1, (300, 3))
TWO, THREE = steepest.arrays(X, np.arange(300) % 2), steepest.arrays(X, np.arange(300) % 3)
NUMBERS = steepest.arrays(X, X @ [1.0, 2.0, 3.0])


def either_way(
    objective: steepest.Objective, data: steepest.Data, outputs: Tensor, weights: Tensor
) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return the loss of each row for each class, found one by one, weighted; and the loss of shares."""
    loss = objective.loss(data)
    classes = data.targets.num_classes
    rows = [[loss(row, torch.tensor([k])) * weights[k] for k in range(classes)] for row in outputs.split(1)]
    each = torch.stack([torch.stack(row) for row in rows])
    return each, lambda shares: loss(outputs, shares)


@pytest.mark.parametrize("weights", [None, (1.0, 3.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_mixture_is_the_mixture_of_losses_with_one_output(
    weights: tuple[float, ...] | None, smoothing: float
) -> None:
    outputs, shares = torch.randn(40, 1, generator=RNG), torch.rand(40, 2, generator=RNG)
    shares = shares / shares.sum(1, keepdim=True)
    counted = torch.tensor(weights or (1.0, 1.0))
    objective = steepest.binary_cross_entropy(smoothing, class_weights=weights)
    each, loss = either_way(objective, TWO, outputs, counted)
    torch.testing.assert_close(loss(shares), (each * shares).sum() / (shares * counted).sum())
    codes = torch.arange(40) % 2
    torch.testing.assert_close(loss(F.one_hot(codes, 2).float()), objective.loss(TWO)(outputs, codes))


@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 4.0)])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_the_loss_of_a_mixture_is_the_mixture_of_losses_with_more(weights: tuple[float, ...] | None, smoothing: float) -> None:
    outputs, shares = torch.randn(40, 3, generator=RNG), torch.rand(40, 3, generator=RNG)
    shares = shares / shares.sum(1, keepdim=True)
    counted = torch.tensor(weights or (1.0, 1.0, 1.0))
    objective = steepest.cross_entropy(smoothing, class_weights=weights)
    each, loss = either_way(objective, THREE, outputs, counted)
    torch.testing.assert_close(loss(shares), (each * shares).sum() / (shares * counted).sum())
    codes = torch.arange(40) % 3
    torch.testing.assert_close(loss(F.one_hot(codes, 3).float()), objective.loss(THREE)(outputs, codes))


def test_objectives_that_cannot_learn_from_mixtures_say_so_before_training() -> None:
    def fit(data: steepest.Data, objective: object) -> None:
        recipe = steepest.Recipe(steepest.adam(0.01), epochs=1, batch=32, objective=objective, augment=steepest.mixup(0.2))  # type: ignore[arg-type]
        steepest.fit(steepest.Task(data), recipe, record=False)

    for data, objective in (
        (THREE, steepest.focal()), (TWO, steepest.focal()), (NUMBERS, steepest.pinball()), (THREE, torch.nn.CrossEntropyLoss()),
        (NUMBERS, lambda outputs, targets: (outputs - targets).abs().mean()),
    ):  # fmt: skip
        with pytest.raises(steepest.InputError, match=r"mixup\(0.2\) mixes labels, which .* cannot learn from; leave it out"):
            fit(data, objective)
    for data, objective in (
        (THREE, steepest.cross_entropy(class_weights="balanced")), (TWO, steepest.cross_entropy()), (TWO, None),
        (NUMBERS, None), (TWO, steepest.binary_cross_entropy(class_weights="balanced")), (NUMBERS, steepest.huber()),
    ):  # fmt: skip
        fit(data, objective)


def test_words_and_whole_numbers_cannot_be_mixed() -> None:
    tokens = steepest.arrays(np.arange(600).reshape(100, 6) % 7, np.arange(100) % 2, integers=True, scaling="none")
    net = lambda: torch.nn.Sequential(torch.nn.EmbeddingBag(7, 4), torch.nn.Linear(4, 1))  # noqa: E731
    recipe = steepest.Recipe(steepest.adam(0.01), epochs=1, batch=32, augment=steepest.mixup(0.2))
    with pytest.raises(
        steepest.InputError, match=r"mixup\(0.2\) mixes real numbers; rows here hold whole ones \(torch.int64\)"
    ):
        steepest.fit(steepest.Task(tokens, model=net), recipe, record=False)


def test_training_on_mixtures_learns_and_counts_rows() -> None:
    recipe = steepest.Recipe(steepest.adamw(0.01), batch=32, epochs=15, augment=steepest.mixup(0.2))
    run = steepest.fit("iris", recipe, record=False)
    assert run.metrics["accuracy"] > 0.9
    task = steepest.Task(steepest.task("iris").data, model=steepest.linear_model())
    events = [e for e in steepest.steps(task, recipe, max_steps=3) if isinstance(e, steepest.StepEvent)]
    assert [e.result.weight for e in events] == [32, 32, 26]
    accumulated = [
        e.result.loss.item()
        for e in steepest.steps(task, recipe, max_steps=3, gradient=steepest.accumulated(4))
        if isinstance(e, steepest.StepEvent)
    ]
    np.testing.assert_allclose(accumulated, [e.result.loss.item() for e in events], rtol=1e-4)
