"""Augmentations: each does what its name says, and what is drawn depends on seed, epoch and row alone."""

from __future__ import annotations

import inspect
import math
import pickle
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

import steepest
from steepest.augmentations import Augmentation, Draws, Source, augmented
from steepest.augmentations.affine import composed, resampled, rotation, stretching
from steepest.data.parts import Part
from steepest.forms import Form
from steepest.recipes import read

IMAGES = torch.arange(64 * 3 * 6 * 5, dtype=torch.float32).reshape(64, 3, 6, 5)
GREY = torch.randn(64, 1, 7, 7, generator=torch.Generator().manual_seed(0))
ROWS = torch.arange(64)
OF_IMAGES = [
    steepest.flip(), steepest.flip(alternating=False), steepest.shift(2), steepest.cutout(3), steepest.rotate(20),
    steepest.scale(1.3), steepest.crop(0.5), steepest.noise(0.1), steepest.mixup(0.4), steepest.cutmix(1.0),
]  # fmt: skip


def source(images: Tensor = IMAGES) -> Source:
    return Source(Part("train", images, torch.arange(len(images)) % 3), Form("image", tuple(images.shape[1:])), 3)


def changed(*augment: Augmentation, epoch: int = 0, rows: Tensor = ROWS, seed: int = 0, images: Tensor = IMAGES) -> Tensor:
    return augmented(source(images), augment, seed, epoch, rows)[0]


ALL = (*OF_IMAGES[4:], steepest.shift(1), steepest.flip())


@pytest.mark.parametrize("augment", [*((each,) for each in OF_IMAGES), ALL], ids=repr)
def test_what_is_drawn_depends_on_seed_epoch_and_row_alone(augment: tuple[Augmentation, ...]) -> None:
    whole = changed(*augment, epoch=3)
    for some in (torch.tensor([40, 2, 11]), ROWS.flip(0), ROWS[5:6], ROWS[:33]):
        assert torch.equal(changed(*augment, epoch=3, rows=some), whole[some])
    assert torch.equal(changed(*augment, epoch=3), whole)
    assert not torch.equal(changed(*augment, epoch=4), whole)
    assert not torch.equal(changed(*augment, epoch=3, seed=1), whole)


@pytest.mark.parametrize("augment", OF_IMAGES, ids=repr)
def test_grey_images_keep_their_shape_and_gradients_flow_back(augment: Augmentation) -> None:
    images = GREY.clone().requires_grad_()
    found = changed(augment, images=images)
    assert found.shape == GREY.shape
    assert found.dtype == torch.float32
    found.sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(("degrees", "turns"), [(0.0, 0), (90.0, 1), (180.0, 2), (-90.0, 3)])
def test_quarters_of_a_turn_are_torchs(degrees: float, turns: int) -> None:
    angles = torch.full((64,), degrees)
    torch.testing.assert_close(resampled(GREY, rotation(angles)), GREY.rot90(turns, (2, 3)), atol=1e-5, rtol=0)


def test_a_turn_keeps_circles_in_images_that_are_not_square() -> None:
    down, across = torch.meshgrid(torch.arange(40) - 19.5, torch.arange(60) - 29.5, indexing="ij")
    rings = torch.exp(-((down**2 + across**2) / 200))[None, None]
    turned = resampled(rings, rotation(torch.tensor([37.0])))
    near = down**2 + across**2 < 19**2
    torch.testing.assert_close(turned[0, 0][near], rings[0, 0][near], atol=2e-3, rtol=0)


def test_angles_zooms_and_windows_lie_where_they_may() -> None:
    draws = Draws(0, 0, torch.arange(20_000))
    turn = steepest.rotate(30).matrix((8, 8), draws)  # type: ignore[attr-defined]
    angle = torch.rad2deg(torch.atan2(turn[:, 1, 0], turn[:, 0, 0]))
    assert angle.abs().max() <= 30
    assert angle.mean().abs() < 0.5
    assert angle.std() == pytest.approx(60 / math.sqrt(12), rel=0.01)
    zoom = steepest.scale(2.0).matrix((8, 8), draws)[:, 0, 0].log()  # type: ignore[attr-defined]
    assert zoom.abs().max() <= math.log(2)
    assert zoom.std() == pytest.approx(2 * math.log(2) / math.sqrt(12), rel=0.01)
    window = steepest.crop(0.25, ratio=1.5).matrix((6, 10), draws)  # type: ignore[attr-defined]
    across, down = window[:, 0, 0], window[:, 1, 1]
    assert max(across.max(), down.max()) <= 1
    assert (window[:, 0, 2].abs() + across * 5 <= 5 + 1e-9).all()  # no window goes beyond the image
    assert (window[:, 1, 2].abs() + down * 3 <= 3 + 1e-9).all()
    free = (across < 1) & (down < 1)
    assert (across * down)[free].min() >= 0.25 - 1e-6
    assert (across / down).max() <= 1.5 + 1e-6


def test_a_zoom_of_one_and_a_crop_of_all_change_nothing() -> None:
    for augment in (steepest.scale(1), steepest.crop(1.0, ratio=1)):
        torch.testing.assert_close(changed(augment, images=GREY), GREY, atol=1e-5, rtol=0)


def test_a_window_of_half_the_side_shows_the_middle_at_twice_the_size() -> None:
    ramp = torch.arange(16.0).expand(1, 1, 16, 16)
    half = torch.full((1,), 0.5)
    expected = (torch.arange(16.0) - 7.5) / 2 + 7.5
    torch.testing.assert_close(resampled(ramp, stretching(half, half))[0, 0, 3], expected)


def test_neighbours_that_are_affine_are_one_resampling() -> None:
    together = changed(steepest.rotate(10), steepest.scale(1.2), images=GREY)
    first = steepest.rotate(10).matrix((7, 7), Draws(0, 0, ROWS, 0))  # type: ignore[attr-defined]
    second = steepest.scale(1.2).matrix((7, 7), Draws(0, 0, ROWS, 1))  # type: ignore[attr-defined]
    assert torch.equal(together, resampled(GREY, composed(first, second)))
    line = torch.linspace(-1, 1, 49).reshape(1, 1, 7, 7)  # what is linear is interpolated exactly, however often
    maps = first[:1] * 0.5, second[:1] * 0.5
    torch.testing.assert_close(resampled(resampled(line, maps[0]), maps[1]), resampled(line, composed(*maps)))


def test_noise_has_mean_and_deviation_and_no_row_that_of_another() -> None:
    flat = torch.zeros(256, 3, 16, 16)
    found = changed(steepest.noise(0.5), images=flat, rows=torch.arange(256))
    assert found.mean().abs() < 4 * 0.5 / math.sqrt(found.numel())
    assert found.std() == pytest.approx(0.5, rel=0.01)
    assert found.unique().numel() > 0.95 * found.numel()
    between = torch.corrcoef(found.flatten(1))
    assert (between - torch.eye(256)).abs().max() < 0.2  # 768 numbers a row: a deviation of 0.036
    places = torch.corrcoef(found.flatten(1).T[:256])
    assert (places - torch.eye(256)).abs().max() < 0.35  # 256 numbers a place: 0.063
    kurtosis = (found / found.std()).pow(4).mean()
    assert kurtosis == pytest.approx(3, abs=0.1)


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
    twice = changed(steepest.shift(2), steepest.shift(2))
    assert not torch.equal(twice, changed(steepest.shift(2), images=changed(steepest.shift(2))))


def test_a_recipe_prints_its_augmentations_and_is_read_back() -> None:
    recipe = steepest.Recipe(steepest.adamw(0.003), augment=(steepest.flip(), steepest.shift(2)))
    assert repr(recipe) == "Recipe(adamw(0.003), augment=(flip(), shift(2)))"
    assert steepest.parse_recipe(repr(recipe)) == recipe
    assert steepest.Recipe(steepest.adamw(0.003), augment=steepest.flip()).augment == (steepest.flip(),)


@pytest.mark.parametrize(
    "text",
    [
        "rotate(15)", "scale(1.2)", "crop(0.5)", "crop(0.5, ratio=1.5)", "noise(0.1)", "mixup(0.2)", "cutmix(1.0)",
        "jitter(0.1)", "swap(0.1)", "mask_frequencies(8)", "mask_times(20, count=2, share=0.2)", "cutout(8)",
    ],
)  # fmt: skip
def test_each_augmentation_prints_as_it_is_written(text: str) -> None:
    assert repr(read(text)) == text
    assert steepest.Recipe(steepest.adam(), augment=read(text)) == steepest.parse_recipe(f"Recipe(adam(), augment={text})")


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
        ("rotate(0)", r"degrees must be in \(0, 180\] \(got 0\)"),
        ("rotate(200)", "degrees must be in"),
        ("scale(0.5)", r"factor must be in \[1, 10\]"),
        ("crop(0)", r"area must be in \(0, 1\]"),
        ("crop(0.5, ratio=0.5)", r"ratio must be in \[1, 10\]"),
        ("noise(0)", "std must be > 0"),
        ("mixup(0)", r"alpha must be in \[0.01, 100\]"),
        ("turn(3)", "unknown function 'turn'"),
        ("jitter(0.1)", r"jitter\(0.1\) changes tables; the data are of the kind image, leave augment out"),
        ("mask_times(3)", r"mask_times\(3\) changes sounds; the data are of the kind image"),
        ("mlp()", r"augment must be augmentations such as \(flip\(\), shift\(2\)\)"),
    ],
)
def test_augmentations_that_cannot_be_are_told_in_one_line(augment: str, complaint: str) -> None:
    with pytest.raises(steepest.InputError, match=complaint):
        steepest.fit("digits", f"Recipe(adamw(0.003), augment={augment})", record=False)


@pytest.mark.parametrize("augment", [*OF_IMAGES[:8], steepest.cutmix(1.0)], ids=repr)
def test_tables_are_no_images(augment: Augmentation) -> None:
    with pytest.raises(steepest.InputError, match=r"\) changes images; the data are of the kind table, leave augment out"):
        steepest.fit("iris", steepest.Recipe(steepest.adamw(0.003), augment=augment), record=False)


def test_the_command_line_takes_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    from steepest.cli import main

    several = "rotate(10), scale(1.1), crop(0.7, ratio=1.2), noise(0.1), cutmix(1.0)"
    command = ["fit", "digits", "--epochs", "1", "--quiet", "--augment"]
    assert main([*command, several]) == 0
    assert main([*command, "swap(0.1)"]) == 2
    assert "swap(0.1) changes tables; the data are of the kind image" in capsys.readouterr().err
    assert main([*command, "crop()"]) == 2
    assert capsys.readouterr().err.strip().endswith("crop: missing a required argument: 'area' (it takes area, ratio)")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (steepest.crop, r"crop: missing a required argument: 'area' (it takes area, ratio)"),
        (lambda: read("crop()"), r"crop: missing a required argument: 'area' (it takes area, ratio)"),
        (
            lambda: steepest.mask_times(count=2),
            "mask_times: missing a required argument: 'width' (it takes width, count, ",
        ),
        (lambda: steepest.flip(True, 2), r"flip: too many positional arguments (it takes alternating)"),
        (lambda: steepest.shift(pixel=2), r"shift: missing a required argument: 'pixels' (it takes pixels)"),
        (
            lambda: read("mlp((8,), 1, 2, 3, 4, 5, 6, 7, 8, 9)"),
            r"mlp: too many positional arguments (it takes",
        ),
    ],
)
def test_a_call_that_cannot_be_is_told_by_the_name_that_people_write(make: Any, message: str) -> None:
    with pytest.raises(steepest.InputError) as told:
        make()
    assert str(told.value).startswith(message)
    assert "\n" not in str(told.value)


def test_augmentations_tell_what_they_take() -> None:
    assert list(inspect.signature(steepest.mask_times).parameters) == ["width", "count", "share"]
    assert pickle.loads(pickle.dumps(steepest.crop(0.5))) == steepest.crop(0.5)
    assert replace(steepest.crop(0.5), area=0.7) == steepest.crop(0.7)
