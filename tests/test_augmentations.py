"""Augmentations: each does what its name says, and what is drawn depends on seed, epoch and row alone."""

from __future__ import annotations

import pytest
import torch

import steepest
from steepest.augmentations import Augmentation, augmented
from steepest.forms import Form

IMAGES = torch.arange(64 * 3 * 6 * 5, dtype=torch.float32).reshape(64, 3, 6, 5)
ROWS = torch.arange(64)


def changed(augment: Augmentation, epoch: int = 0, rows: torch.Tensor = ROWS, seed: int = 0) -> torch.Tensor:
    return augmented(IMAGES[rows], (augment,), seed, epoch, rows)


@pytest.mark.parametrize("augment", [steepest.flip(), steepest.flip(alternating=False), steepest.shift(2), steepest.cutout(3)])
def test_what_is_drawn_depends_on_seed_epoch_and_row_alone(augment: Augmentation) -> None:
    whole = changed(augment, epoch=3)
    some = torch.tensor([40, 2, 11])
    assert torch.equal(changed(augment, epoch=3, rows=some), whole[some])
    assert torch.equal(changed(augment, epoch=3), whole)
    assert not torch.equal(changed(augment, epoch=4), whole)
    assert not torch.equal(changed(augment, epoch=3, seed=1), whole)


def test_an_alternating_flip_shows_both_sides_of_every_image_in_two_epochs() -> None:
    first, second = changed(steepest.flip(), epoch=0), changed(steepest.flip(), epoch=1)
    assert torch.equal(second, first.flip(3))
    mirrored = (first != IMAGES).flatten(1).any(1)
    assert 16 < mirrored.sum() < 48


def test_a_plain_flip_draws_anew_each_epoch() -> None:
    plain = steepest.flip(alternating=False)
    sides = torch.stack([(changed(plain, epoch=e) != IMAGES).flatten(1).any(1) for e in range(40)])
    assert 0.4 < sides.float().mean() < 0.6
    assert (sides.float().mean(0) > 0.1).all()


def test_a_shift_moves_by_as_many_pixels_and_mirrors_at_the_edge() -> None:
    padded = torch.nn.functional.pad(IMAGES, (2, 2, 2, 2), mode="reflect")
    places = {(dy, dx): padded[:, :, dy : dy + 6, dx : dx + 5] for dy in range(5) for dx in range(5)}
    found, seen = changed(steepest.shift(2)), set()
    for i in range(len(found)):
        where = [place for place, moved in places.items() if torch.equal(found[i], moved[i])]
        assert where, "not a shift of the image"
        seen.add(where[0])
    assert len(seen) > 15  # of the 25 that there are


def test_a_cutout_leaves_a_square_of_zeros() -> None:
    found = changed(steepest.cutout(3)) + 0.0
    for image, before in zip(found, IMAGES, strict=True):
        gone = (image == 0).all(0)
        rows, columns = gone.any(1).sum(), gone.any(0).sum()
        assert 2 <= rows <= 3, "half of the square at most is cut off"
        assert 2 <= columns <= 3
        assert gone.sum() == rows * columns
        assert torch.equal(image[:, ~gone], before[:, ~gone])


def test_augmentations_run_one_after_the_other_each_with_draws_of_its_own() -> None:
    twice = augmented(IMAGES, (steepest.shift(2), steepest.shift(2)), 0, 0, ROWS)
    assert not torch.equal(twice, augmented(changed(steepest.shift(2)), (steepest.shift(2),), 0, 0, ROWS))


def test_a_recipe_prints_its_augmentations_and_is_read_back() -> None:
    recipe = steepest.Recipe(steepest.adamw(0.003), augment=(steepest.flip(), steepest.shift(2)))
    assert repr(recipe) == "Recipe(adamw(0.003), augment=(flip(), shift(2)))"
    assert steepest.parse_recipe(repr(recipe)) == recipe
    assert steepest.Recipe(steepest.adamw(0.003), augment=steepest.flip()).augment == (steepest.flip(),)


def test_photographs_are_mirrored_and_moved_by_default_and_digits_are_moved() -> None:
    from steepest.defaults import default_recipe

    assert default_recipe(Form("image", (3, 32, 32)), 20_000).augment == (steepest.flip(), steepest.shift(2))
    assert default_recipe(Form("image", (1, 28, 28)), 60_000).augment == (steepest.shift(1),)
    assert default_recipe(Form("table", (4,)), 100).augment is None


def test_training_differs_with_augmentation_and_repeats_itself() -> None:
    task = steepest.task("digits")

    def loss(augment: object) -> float:
        recipe = steepest.Recipe(steepest.adamw(0.003), batch=64, epochs=1, augment=augment)  # type: ignore[arg-type]
        return steepest.fit(task, recipe, record=False, max_steps=10).curve[-1]["train_loss"]

    assert loss(steepest.shift(1)) == loss(steepest.shift(1)) != loss(())


@pytest.mark.parametrize(
    ("augment", "complaint"),
    [
        ("shift(9)", r"shift\(9\) moves images of 8 x 8 out of sight"),
        ("shift(0)", "pixels"),
        ("rotate(3)", "unknown function 'rotate'"),
        ("mlp()", r"augment must be augmentations such as \(flip\(\), shift\(2\)\)"),
    ],
)
def test_augmentations_that_cannot_be_are_told_in_one_line(augment: str, complaint: str) -> None:
    with pytest.raises(steepest.InputError, match=complaint):
        steepest.fit("digits", f"Recipe(adamw(0.003), augment={augment})", record=False)


def test_only_images_are_changed() -> None:
    with pytest.raises(steepest.InputError, match=r"flip\(\) changes images; the data are of the kind table"):
        steepest.fit("iris", "Recipe(adamw(0.003), augment=flip())", record=False)
