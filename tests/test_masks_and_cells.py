"""Masks of spectrograms, and cells of tables made noisy or swapped: what may change does, and nothing else."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import steepest
from steepest.augmentations import Augmentation, Source, augmented
from steepest.data.gathering import Ragged
from steepest.data.parts import Part
from steepest.forms import Form
from steepest.models.heads import present

COUNT, BANDS = 100, 12
LENGTHS = 1 + torch.arange(COUNT) % 25
OFFSETS = torch.cat([torch.zeros(1, dtype=torch.int64), LENGTHS.cumsum(0)])
FRAMES = torch.rand(int(OFFSETS[-1]), BANDS, generator=torch.Generator().manual_seed(0)) + 1
SOUNDS = Source(Part("train", Ragged(FRAMES, OFFSETS), torch.arange(COUNT) % 3), Form("sound", (25, BANDS)), 3)
ROWS = torch.arange(COUNT)


def changed(source: Source, *augment: Augmentation, rows: Tensor = ROWS, seed: int = 0, epoch: int = 0) -> Tensor:
    return augmented(source, augment, seed, epoch, rows)[0]


BEFORE = changed(SOUNDS)


def runs(mask: Tensor) -> int:
    """Return how many runs of True a line holds."""
    return int((mask.int().diff(prepend=torch.zeros(1, dtype=torch.int32)) == 1).sum())


def test_masked_bands_are_runs_the_same_in_every_frame() -> None:
    found = changed(SOUNDS, steepest.mask_frequencies(4))
    widths = []
    for row in range(COUNT):
        gone = (found[row] == 0) & (BEFORE[row] != 0)
        length = int(LENGTHS[row])
        assert (gone[:length] == gone[0]).all()
        assert runs(gone[0]) <= 1
        widths.append(int(gone[0].sum()))
        assert torch.equal(found[row][~gone], BEFORE[row][~gone])
    assert set(widths) == {0, 1, 2, 3, 4}


def test_masked_times_are_runs_of_frames_and_a_recording_keeps_its_length() -> None:
    found = changed(SOUNDS, steepest.mask_times(6))
    assert torch.equal(present(found, is_tokens=False), present(BEFORE, is_tokens=False))
    widths = set()
    for row in range(COUNT):
        gone = (found[row] == 0).all(1) & (BEFORE[row] != 0).any(1)
        assert runs(gone) <= 1
        assert torch.equal(found[row][~gone], BEFORE[row][~gone])
        widths.add(int(gone.sum()))
    assert widths == {0, 1, 2, 3, 4, 5, 6}
    shorter = changed(SOUNDS, steepest.mask_times(20, share=0.2))
    gone = ((shorter == 0).all(2) & (BEFORE != 0).any(2)).sum(1)
    assert (gone <= 0.2 * LENGTHS).all()
    assert gone.max() == 5


def test_several_masks_are_drawn_apart() -> None:
    once = (changed(SOUNDS, steepest.mask_times(6)) == 0).sum()
    assert (changed(SOUNDS, steepest.mask_times(6, count=3)) == 0).sum() > once


@pytest.mark.parametrize("augment", [steepest.mask_frequencies(4, count=2), steepest.mask_times(6, count=2)], ids=repr)
def test_masks_depend_on_seed_epoch_and_row_alone(augment: Augmentation) -> None:
    whole = changed(SOUNDS, augment)
    for rows in (ROWS[[70, 3, 12]], ROWS.flip(0), ROWS[:1]):
        some = changed(SOUNDS, augment, rows=rows)  # as long as the longest of them
        assert torch.equal(some, whole[rows][:, : some.shape[1]])
    assert not torch.equal(changed(SOUNDS, augment, epoch=1), whole)
    assert not torch.equal(changed(SOUNDS, augment, seed=1), whole)


def test_more_masks_than_bands_are_refused() -> None:
    with pytest.raises(steepest.InputError, match=r"mask_frequencies\(4, count=3\) may mask all 12 bands; mask fewer"):
        steepest.mask_frequencies(4, count=3).check(SOUNDS, steepest.cross_entropy())


def test_sounds_are_trained_on_masked_and_mixed() -> None:
    from steepest.data import Data
    from steepest.data.cleaning import CleaningReport
    from steepest.data.recordings import joined
    from steepest.data.splitting import SHARES, deal
    from steepest.data.targets import encode

    rng = np.random.default_rng(0)
    tones = [np.sin(np.arange(n) * (0.3 if i % 2 else 0.9)) * 8000 for i, n in enumerate(rng.integers(900, 4000, 60))]
    sounds = joined([tone.astype(np.int16) for tone in tones], 8000)
    targets = encode(np.arange(60) % 2, "tones", kind="classification")
    data = Data("tones", sounds, targets, deal(targets, SHARES, 0, "tones"), CleaningReport())
    recipe = steepest.parse_recipe(
        "Recipe(adamw(0.01), batch=16, epochs=4, augment=(mask_frequencies(6), mask_times(8, count=2), mixup(0.2)))"
    )
    run = steepest.fit(steepest.Task(data, model=steepest.gru(16)), recipe, record=False)
    assert run.metrics["accuracy"] > 0.8


# -- cells of tables ------------------------------------------------------------------------------------------------------


@pytest.fixture
def messy(tmp_path: Path) -> steepest.Data:
    """A table with a number that is sometimes missing, a whole one, a category, a date and a column of many categories."""
    rng = np.random.default_rng(0)
    lines = ["size,count,plan,day,town,label"]
    for i in range(600):
        size = "" if rng.random() < 0.2 else f"{rng.normal(5, 2):.3f}"
        day = f"20{rng.integers(10, 24)}-{rng.integers(1, 13):02d}-{rng.integers(1, 28):02d}"
        lines.append(f"{size},{rng.integers(0, 50)},{'abc'[rng.integers(3)]},{day},t{rng.integers(60)},{'yn'[i % 2]}")
    path = tmp_path / "messy.csv"
    path.write_text("\n".join(lines) + "\n")
    return steepest.read_table(path, label="label")


def of_table(data: steepest.Data) -> tuple[Source, list[str]]:
    part = data.part("train", by="training")
    return Source(part, data.form, data.targets.num_classes), data.preprocessing.features  # type: ignore[attr-defined]


def test_a_form_says_what_each_column_of_the_data_became(messy: steepest.Data) -> None:
    source, features = of_table(messy)
    assert [features[start] for start in source.form.groups] == [
        "size", "count", "plan=a", "day in days", "town (number of the category)",
    ]  # fmt: skip
    assert Form.from_dict(source.form.to_dict()) == source.form
    assert steepest.task("iris").data.form.groups == ()


def test_noise_falls_on_numbers_that_were_measured_alone(messy: steepest.Data) -> None:
    source, features = of_table(messy)
    rows = torch.arange(len(source.part))
    before = changed(source, rows=rows)
    added = changed(source, steepest.jitter(0.3), rows=rows) - before
    touched = {features[column] for column in added.abs().sum(0).nonzero().flatten().tolist()}
    assert touched == {"size", "count"}
    missing = before[:, features.index("size is missing")] == 1
    assert 0.1 < missing.float().mean() < 0.3
    size, count = added[:, features.index("size")], added[:, features.index("count")]
    assert (size[missing] == 0).all()
    for noise in (size[~missing], count):
        assert (noise != 0).all()
        assert noise.std() == pytest.approx(0.3, rel=0.15)
        assert noise.mean().abs() < 0.06


def test_cells_are_swapped_whole_and_for_cells_of_their_column(messy: steepest.Data) -> None:
    source, _ = of_table(messy)
    rows = torch.arange(len(source.part))
    before = changed(source, rows=rows)
    found = changed(source, steepest.swap(0.3), rows=rows)
    for begin, end in pairwise((*source.form.groups, before.shape[1])):
        there = {tuple(cell) for cell in before[:, begin:end].tolist()}
        assert {tuple(cell) for cell in found[:, begin:end].tolist()} <= there
    counts = (found[:, 2] != before[:, 2]).float().mean()  # of fifty numbers, one in fifty is swapped for itself
    assert counts == pytest.approx(0.3, abs=0.06)
    plain = changed(source, steepest.swap(1.0), rows=rows)
    assert (plain[:, 2] != before[:, 2]).float().mean() > 0.93


def test_cells_of_a_row_come_from_different_rows_evenly() -> None:
    inputs = torch.arange(50.0)[:, None].expand(-1, 4).contiguous()
    source = Source(Part("train", inputs, torch.zeros(50)), Form("table", (4,)))
    donors = torch.cat([changed(source, steepest.swap(1.0), rows=torch.arange(50), epoch=epoch) for epoch in range(200)])
    counts = torch.bincount(donors.flatten().long(), minlength=50).double()
    assert ((counts - 800).abs() < 5 * 800**0.5).all()
    assert (donors[:, 0] == donors[:, 1]).float().mean() == pytest.approx(1 / 50, abs=0.006)


@pytest.mark.parametrize("augment", [steepest.jitter(0.3), steepest.swap(0.5), steepest.mixup(0.5)], ids=repr)
def test_cells_depend_on_seed_epoch_and_row_alone(augment: Augmentation, messy: steepest.Data) -> None:
    source, _ = of_table(messy)
    rows = torch.arange(len(source.part))
    whole = changed(source, augment, rows=rows)
    for some in (rows[[70, 3, 12]], rows.flip(0), rows[:1]):
        assert torch.equal(changed(source, augment, rows=some), whole[some])
    assert not torch.equal(changed(source, augment, rows=rows, epoch=1), whole)
    assert not torch.equal(changed(source, augment, rows=rows, seed=1), whole)


def test_a_table_is_trained_on_with_all_of_them(messy: steepest.Data) -> None:
    recipe = steepest.Recipe(
        steepest.adamw(0.01), batch=64, epochs=2, augment=(steepest.jitter(0.1), steepest.swap(0.1), steepest.mixup(0.2))
    )
    losses = [steepest.fit(steepest.Task(messy), recipe, record=False).curve[-1]["train_loss"] for _ in range(2)]
    assert losses[0] == losses[1]


def test_a_table_without_measured_numbers_has_none_to_change() -> None:
    source = Source(Part("train", torch.zeros(5, 2), torch.zeros(5)), Form("table", (2,), codes=((0, 4), (1, 4))))
    with pytest.raises(steepest.InputError, match=r"jitter\(0.1\) changes measured numbers that are scaled"):
        steepest.jitter(0.1).check(source, steepest.cross_entropy())
