"""Images in 8 bits, and rows that are left on disk: the same numbers and weights, whatever is killed, cut off or altered."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

import steepest
from steepest.data import archives, gathering, pictures
from steepest.data import cache as cache_module
from steepest.data.ahead import ReadAhead
from steepest.data.cache import MANIFEST, ROWS, stored_arrays
from steepest.data.gathering import Mapped, Pixels
from steepest.data.lines import Lines, lines_of
from steepest.data.scaling import chunked_numbers, counted_numbers
from steepest.gradient import plain
from steepest.training import pilot
from steepest.training.setup import prepare

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (90, 7, 6, 3), dtype=np.uint8)
Y = np.arange(90) % 3


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rows"


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "free_memory", lambda: 2**14)


def inputs_of(data: steepest.Data, part: str = "train") -> torch.Tensor:
    found = data.part(part, by="test")
    return found.take(torch.arange(len(found)))[0]


def values_of(data: steepest.Data) -> Any:
    return data.inputs.values  # type: ignore[attr-defined]


# -- 8 bits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
def test_images_stay_in_8_bits_and_reach_the_network_as_they_did(scaling: str) -> None:
    data = steepest.arrays(X, Y, scaling=scaling)
    part = data.part("train", by="test")
    assert isinstance(part.inputs, Pixels)
    assert (part.inputs.flat.dtype, part.inputs.dtype) == (torch.uint8, torch.float32)
    whole = X[data.parts["train"]].transpose(0, 3, 1, 2)
    scaler = {"standard": StandardScaler(), "minmax": MinMaxScaler(), "robust": RobustScaler()}.get(scaling)
    expected = whole.astype(np.float64)
    if scaler is not None:
        expected = (
            scaler.fit_transform(expected.transpose(0, 2, 3, 1).reshape(-1, 3)).reshape(-1, 7, 6, 3).transpose(0, 3, 1, 2)
        )
    np.testing.assert_allclose(inputs_of(data).numpy(), expected, rtol=2e-5, atol=2e-6)
    at_once = data.preprocessing(data.inputs.take(data.parts["train"]))
    assert torch.equal(inputs_of(data), torch.as_tensor(at_once))  # bit for bit
    rows = torch.tensor([5, 0, 5, 17])
    assert torch.equal(part.take(rows)[0], inputs_of(data)[rows])
    assert torch.equal(torch.cat([some for some, _ in part.in_order(7)]), inputs_of(data))


@pytest.mark.parametrize("columns", [RNG.integers(0, 256, (999, 3)), np.full((5, 1), 7), np.array([[0], [255]])])
@pytest.mark.parametrize("scaling", ["standard", "minmax", "robust", "none"])
def test_counts_and_chunks_give_the_scalers_numbers(columns: np.ndarray, scaling: str) -> None:
    scaler = {"standard": StandardScaler(), "minmax": MinMaxScaler(), "robust": RobustScaler()}.get(scaling)
    zero, one = np.zeros((1, columns.shape[1])), np.ones((1, columns.shape[1]))
    counts = np.stack([np.bincount(column, minlength=256) for column in columns.T], axis=1)
    found = [counted_numbers(counts, scaling)]
    if scaling != "robust":
        found.append(chunked_numbers(np.array_split(columns, 2), scaling))
    for shift, scale in found:
        got = [(values - shift) / scale for values in (zero, one)]
        expected = [zero, one] if scaler is None else [scaler.fit(columns).transform(values) for values in (zero, one)]
        np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)


# -- the same weights -------------------------------------------------------------------------------------------------


def weights(data: steepest.Data, **options: Any) -> str:
    recipe = steepest.Recipe(steepest.adam(0.01), batch=16, epochs=3, **options)
    return steepest.fit(data, recipe=recipe, record=False, progress=False).facts["weights_sha256"]


def test_weights_are_those_of_rows_in_memory_bit_for_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    augment = (steepest.flip(), steepest.shift(1))
    expected = weights(steepest.arrays(X, Y), augment=augment)
    on_disk = steepest.arrays(X, Y, on_disk=True)
    assert isinstance(on_disk.part("train", by="test").inputs, Mapped)
    asked: list[bool] = []
    take = ReadAhead.take
    monkeypatch.setattr(ReadAhead, "take", lambda *args: asked.append((found := take(*args)) is not None) or found)
    assert weights(on_disk, augment=augment) == expected
    assert sum(asked) >= 12  # four batches, three epochs
    monkeypatch.setattr(gathering.Mapped, "read_ahead", lambda *_: contextlib.nullcontext())
    asked.clear()
    assert weights(steepest.arrays(X, Y, on_disk=True), augment=augment) == expected
    assert not asked


def test_a_plan_may_leave_reading_ahead_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    take = ReadAhead.take
    monkeypatch.setattr(ReadAhead, "take", lambda *args: asked.append((found := take(*args)) is not None) or found)
    recipe = steepest.Recipe(steepest.adam(0.01), batch=16, epochs=3)
    plan = steepest.Plan(prefetch=False)
    resident = steepest.fit(steepest.arrays(X, Y), recipe, plan=steepest.Plan(), record=False)
    run = steepest.fit(steepest.arrays(X, Y, on_disk=True), recipe, plan=plan, record=False)
    assert run.facts["weights_sha256"] == resident.facts["weights_sha256"]
    assert run.facts["plan"]["told"] == "plan: float32, no prefetch (given)"
    assert not any(asked)
    bench = pilot.Bench(prepare(steepest.task(steepest.arrays(X, Y, on_disk=True)), recipe), plain)
    assert plan in pilot.variants(bench, steepest.Plan())
    for each in (steepest.Plan(), plan):
        timing = pilot.Timing(each)
        bench.run(timing)
        assert timing.seconds
    assert any(asked)
    monkeypatch.setattr(pilot, "free_memory", lambda: 1000)
    assert plan not in pilot.variants(bench, steepest.Plan())


def test_arrays_and_numbers_other_than_8_bits() -> None:
    for values, options in (
        (RNG.normal(size=(90, 4, 5)), {"scaling": "none"}),
        (RNG.normal(size=(90, 1, 8, 8)).astype(np.float32), {}),
        (RNG.integers(0, 9, (90, 8, 8)), {"images": True, "scaling": "minmax"}),
    ):
        in_memory, on_disk = steepest.arrays(values, Y, **options), steepest.arrays(values, Y, on_disk=True, **options)
        torch.testing.assert_close(inputs_of(in_memory), inputs_of(on_disk), rtol=1e-6, atol=1e-6)
    with pytest.raises(steepest.InputError, match="robust scaling needs all numbers in memory"):
        _ = steepest.arrays(RNG.normal(size=(90, 1, 8, 8)), Y, scaling="robust", on_disk=True).form
    with pytest.raises(steepest.InputError, match=r"a table of .* is to stay on disk.* give scaling='none'"):
        steepest.arrays(RNG.normal(size=(90, 4)), Y, on_disk=True)


def test_what_is_given_to_a_worker_names_the_file_and_its_rows_only() -> None:
    data = steepest.arrays(X, Y, on_disk=True)
    copy = pickle.loads(pickle.dumps(data.only("train", "validation", by="test")))
    assert torch.equal(inputs_of(copy, "validation"), inputs_of(data, "validation"))
    assert not set(values_of(copy).rows) & set(data.parts["test"])
    _ = data.part("train", by="test")
    assert len(pickle.dumps(data)) < X.nbytes + 2**14


# -- where rows come from ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("little_memory")
def test_a_mapped_file_is_read_where_it_lies(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    for some in (mapped, mapped[7:77]):  # a slice begins elsewhere in the file
        found = lines_of(some)
        assert found is not None
        np.testing.assert_array_equal(found.read(np.array([3, 0, 69])), np.asarray(some)[[3, 0, 69]])
    assert lines_of(mapped[::2]) is None
    data = steepest.arrays(mapped, Y, test=(mapped[:30], Y[:30]))
    assert values_of(data).path == str(tmp_path / "x.npy")
    assert f"120 images left on disk: read batch by batch, {120 * X[0].nbytes:,} bytes in {tmp_path}/x.npy" in str(
        data.cleaning
    )
    expected = steepest.arrays(X, Y, test=(X[:30], Y[:30]))
    for part in ("train", "validation", "test"):
        assert torch.equal(inputs_of(data, part), inputs_of(expected, part))
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("little_memory")
def test_a_mapped_file_is_looked_through_for_what_is_no_number(tmp_path: Path) -> None:
    values = RNG.normal(size=(90, 20, 20)).astype(np.float32)
    values[41, 3, 3] = np.nan
    np.save(tmp_path / "x.npy", values)
    for given, on_disk in ((np.load(tmp_path / "x.npy", mmap_mode="r"), None), (values, True)):
        with pytest.raises(steepest.InputError, match="missing or infinite value in row 41"):
            steepest.arrays(given, Y, scaling="none", on_disk=on_disk)


def test_a_test_part_is_written_behind_the_rest(tmp_path: Path) -> None:
    test = X[:30], Y[:30]
    expected = steepest.arrays(X, Y, test=test)
    np.save(tmp_path / "x.npy", X.astype(">i2"))  # bytes in the other order
    np.save(tmp_path / "test.npy", test[0])
    mapped, mapped_test = (np.load(tmp_path / name, mmap_mode="r") for name in ("x.npy", "test.npy"))
    for inputs, test_inputs in ((X, test[0]), (mapped, mapped_test), (mapped, test[0])):
        data = steepest.arrays(inputs, Y, test=(test_inputs, test[1]), on_disk=True, images=True)
        for part in ("train", "test"):
            torch.testing.assert_close(inputs_of(data, part), inputs_of(expected, part), rtol=1e-6, atol=1e-6)


@pytest.mark.usefixtures("little_memory")
def test_an_archive_larger_than_memory_is_unpacked_into_the_cache(tmp_path: Path, cache: Path) -> None:
    np.savez_compressed(tmp_path / "set.npz", x_train=X, y_train=Y, x_test=X[:30], y_test=Y[:30])
    data = steepest.read_images(tmp_path / "set.npz")
    assert values_of(data).path.startswith(str(cache))
    assert torch.equal(inputs_of(data, "test"), inputs_of(steepest.arrays(X, Y, test=(X[:30], Y[:30])), "test"))
    with pytest.raises(steepest.InputError, match="more than half of the free memory"):
        steepest.read_images(tmp_path / "set.npz", on_disk=False)


def picture_folder(root: Path) -> Path:
    image = pytest.importorskip("PIL.Image")
    for i, pixels in enumerate(X[:40]):
        path = root / ("cat", "dog")[i % 2] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.fromarray(pixels).save(path)
    (root / "cat" / "10.png").write_bytes((root / "cat" / "10.png").read_bytes()[:90])
    return root


def test_a_folder_of_images_is_decoded_once_into_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = picture_folder(tmp_path / "pets")
    expected = steepest.read_images(root, on_bad_row="skip")
    monkeypatch.setattr(archives, "free_memory", lambda: 2**10)
    for _ in range(2):
        data = steepest.read_images(root, on_bad_row="skip")
        told = [finding for finding in data.cleaning.findings if "left on disk" not in finding.what]
        assert told == expected.cleaning.findings
        assert torch.equal(inputs_of(data), inputs_of(expected))
        monkeypatch.setattr(pictures, "_ready", None)  # the second time nothing is decoded
    (root / "dog" / "01.png").write_bytes((root / "dog" / "03.png").read_bytes())
    with pytest.raises(steepest.InputError, match="is a damaged image"):
        steepest.read_images(root)  # a file has changed: all is decoded again


def test_the_cache_of_images_knows_them_when_others_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = picture_folder(tmp_path / "pets")
    (root / "cat" / "00a.png").write_bytes(b"no image")
    monkeypatch.setattr(archives, "free_memory", lambda: 2**10)
    first = steepest.read_images(root, on_bad_row="skip")
    (root / "cat" / "00a.png").unlink()
    monkeypatch.setattr(pictures, "_ready", None)  # nothing is decoded again
    second = steepest.read_images(root, on_bad_row="skip")
    assert len(first) == len(second) == 39
    assert torch.equal(inputs_of(first), inputs_of(second))
    assert torch.equal(first.part("train", by="test").targets, second.part("train", by="test").targets)  # type: ignore[arg-type]


# -- whatever happens to the cache ------------------------------------------------------------------------------------

WRITE = """
import sys, time
import numpy as np
from steepest.data.cache import Wanted, stored

def rows(about):
    for i in range(20):
        print(i, flush=True)
        time.sleep(float(sys.argv[1]))
        yield np.full((50, 1000), i, dtype=np.uint8)

found = stored(Wanted("a test", (1000,), np.dtype(np.uint8), 1000, rows))
print("sum", int(found.lines.read().sum()), flush=True)
"""
SUM = 50 * 1000 * sum(range(20))


def writer(pause_s: float) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", WRITE, str(pause_s)], stdout=subprocess.PIPE, text=True)


def test_a_killed_write_is_done_again(cache: Path) -> None:
    with writer(0.2) as killed:
        assert killed.stdout is not None
        while int(killed.stdout.readline()) < 3:
            pass
        os.kill(killed.pid, signal.SIGKILL)
    assert [path.name[-5:] for path in cache.iterdir() if path.is_dir()] == [".part"]
    with writer(0) as again:
        told = again.communicate()[0].split()
    assert told == [*map(str, range(20)), "sum", str(SUM)]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1
    np.testing.assert_array_equal(np.load(next(cache.glob("*/rows.npy")))[:, 0], np.repeat(np.arange(20), 50))


def test_of_several_writers_one_writes(cache: Path) -> None:
    several = [writer(0.02) for _ in range(3)]
    told = [one.communicate()[0].split() for one in several]
    assert [len(lines) for lines in sorted(told, key=len)] == [2, 2, 22]
    assert all(lines[-2:] == ["sum", str(SUM)] for lines in told)
    assert not list(cache.glob("*.part"))


def cut(entry: Path) -> None:
    os.truncate(entry / ROWS, 9_000)


def alter(entry: Path) -> None:
    with (entry / ROWS).open("r+b") as file:
        file.seek(5_000)
        file.write(b"\x00\x01\x02")
    os.utime(entry / ROWS, ns=(1, 1))


def empty_manifest(entry: Path) -> None:
    (entry / MANIFEST).write_text("")


def other_version(entry: Path) -> None:
    manifest = json.loads((entry / MANIFEST).read_text())
    (entry / MANIFEST).write_text(json.dumps(manifest | {"version": 0}))


def other_shape(entry: Path) -> None:
    manifest = json.loads((entry / MANIFEST).read_text())
    (entry / MANIFEST).write_text(json.dumps(manifest | {"rows": 10}))


def other_dtype(entry: Path) -> None:
    manifest = json.loads((entry / MANIFEST).read_text())
    (entry / MANIFEST).write_text(json.dumps(manifest | {"dtype": "zz"}))


def too_deep(entry: Path) -> None:
    (entry / MANIFEST).write_text("[" * 100_000)


def no_rows(entry: Path) -> None:
    (entry / ROWS).unlink()


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files of rows that were written."""
    paths: list[Path] = []
    write = cache_module._write_rows
    monkeypatch.setattr(cache_module, "_write_rows", lambda path, wanted: paths.append(path) or write(path, wanted))
    return paths


@pytest.mark.parametrize("damage", [cut, alter, empty_manifest, other_version, other_shape, other_dtype, too_deep, no_rows])
def test_what_is_not_whole_is_written_again(damage: Any, written: list[Path]) -> None:
    lines = stored_arrays(X)
    assert stored_arrays(X).path == lines.path
    assert len(written) == 1
    damage(Path(lines.path).parent)
    again = stored_arrays(X)
    assert (again.path, len(written)) == (lines.path, 2)
    np.testing.assert_array_equal(again.read(), X)


def test_a_copy_is_the_same(written: list[Path]) -> None:
    lines = stored_arrays(X)
    os.utime(lines.path, ns=(1, 1))
    np.testing.assert_array_equal(stored_arrays(X).read(), X)
    assert len(written) == 1


def test_a_file_cut_off_while_it_is_learned_from_is_told() -> None:
    data = steepest.arrays(X, Y, on_disk=True)
    events = steepest.steps(data, "sgd(0.01)", max_steps=1000)
    next(events)
    os.truncate(values_of(data).path, 2_000)
    with pytest.raises(steepest.InputError, match=r"rows.npy was cut off since its rows were looked at; load it again"):
        for _ in events:
            pass
    os.truncate(values_of(data).path, 0)
    with pytest.raises(steepest.InputError, match=r"rows.npy (was cut off|cannot be read)"):
        values_of(data).read()


def test_a_folder_that_cannot_be_written_and_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path / "file"))
    with pytest.raises(steepest.InputError, match=r"cannot be written \(Not a directory\); name another folder with") as told:
        stored_arrays(X)
    assert "\n" not in str(told.value)
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path / "cache"))

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(steepest.InputError, match=r"cannot be written \(Read-only file system\); name another folder with"):
        stored_arrays(X)
    monkeypatch.undo()
    monkeypatch.setenv("STEEPEST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(steepest.InputError, match=r"rows of 11,340 bytes do not fit on the disk of .* \(10 bytes free\)"):
        stored_arrays(X)


# -- reading ahead ----------------------------------------------------------------------------------------------------


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "steepest-read-ahead"]


def test_a_reader_holds_a_few_batches_and_stops() -> None:
    read: list[int] = []

    def batches() -> Iterator[np.ndarray]:
        for i in range(1000):
            read.append(i)
            yield np.array([i, i + 1])

    with ReadAhead(lambda places: places * 10, batches(), row_bytes=2**24) as ahead:
        for i in range(5):
            np.testing.assert_array_equal(ahead.take(np.array([i, i + 1])), [10 * i, 10 * i + 10])
        assert ahead.take(np.array([77])) is None  # somebody else's batch
        np.testing.assert_array_equal(ahead.take(np.array([5, 6])), [50, 60])
        time.sleep(0.05)
        assert len(read) <= 12
        assert len(readers()) == 1
    assert not readers()


def test_a_reader_tells_what_went_wrong_and_that_nothing_is_left() -> None:
    def read(places: np.ndarray) -> np.ndarray:
        if places[0] == 2:
            raise steepest.InputError("the disk is gone")
        return places

    with ReadAhead(read, (np.array([i]) for i in range(5)), row_bytes=8) as ahead:
        assert all(ahead.take(np.array([i])) is not None for i in range(2))
        for _ in range(2):
            with pytest.raises(steepest.InputError, match="the disk is gone"):
                ahead.take(np.array([2]))
    with ReadAhead(read, (np.array([i]) for i in range(1)), row_bytes=8) as ahead:
        assert ahead.take(np.array([0])) is not None
        assert ahead.take(np.array([1])) is None
    assert not readers()


def test_no_reader_outlives_a_training_that_is_left() -> None:
    events = steepest.steps(steepest.arrays(X, Y, on_disk=True), "sgd(0.01)", max_steps=1000)
    next(events)
    assert len(readers()) == 1
    events.close()
    assert not readers()


def test_pages_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steepest.data.lines.HELD_BYTES", 1000)
    lines = stored_arrays(X)
    for _ in range(3):
        np.testing.assert_array_equal(lines.read(np.arange(90)[::-1]), X[::-1])
    assert isinstance(lines[3:5], Lines)
    np.testing.assert_array_equal(np.asarray(lines[3:5]), X[3:5])


# -- another file in its place ----------------------------------------------------------------------------------------


def other_rows(path: Path) -> None:
    """Put a file of other rows, of the same size, in the place of one."""
    np.save(path.with_name("other.npy"), 255 - X)
    os.replace(path.with_name("other.npy"), path)


def longer_rows(path: Path) -> None:
    np.save(path.with_name("other.npy"), X.astype(np.float64))
    os.replace(path.with_name("other.npy"), path)


def altered_rows(path: Path) -> None:
    time.sleep(0.05)  # a file system counts time in steps
    np.save(path, 255 - X)


@pytest.mark.parametrize(
    ("change", "how"), [(other_rows, "replaced"), (longer_rows, "replaced"), (altered_rows, "altered"), (no_rows, None)]
)
@pytest.mark.usefixtures("little_memory")
def test_a_mapped_file_that_is_another_is_told(tmp_path: Path, change: Any, how: str | None) -> None:
    np.save(tmp_path / ROWS, X)
    data = steepest.arrays(np.load(tmp_path / ROWS, mmap_mode="r"), Y)
    copy = pickle.dumps(data.only("train", "validation", by="test"))
    inputs_of(data)
    inputs_of(pickle.loads(copy))
    change(tmp_path if how is None else tmp_path / ROWS)
    told = "cannot be read" if how is None else f"was {how} since its rows were looked at; load it again"
    for some in (data, pickle.loads(copy)):
        with pytest.raises(steepest.InputError, match=told):
            inputs_of(some, "validation")


@pytest.mark.parametrize("change", [other_rows, longer_rows, lambda path: os.truncate(path, 5_000)])
@pytest.mark.usefixtures("little_memory")
def test_a_mapped_file_that_is_another_before_it_is_taken_is_told(tmp_path: Path, change: Any) -> None:
    np.save(tmp_path / ROWS, X)
    mapped = np.load(tmp_path / ROWS, mmap_mode="r")
    change(tmp_path / ROWS)
    with pytest.raises(steepest.InputError, match=r"rows.npy was replaced since it was mapped; load it again"):
        steepest.arrays(mapped, Y)


def test_a_mapped_file_that_was_removed_is_taken_into_memory_all_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / ROWS, X)
    mapped = np.load(tmp_path / ROWS, mmap_mode="r")
    other_rows(tmp_path / ROWS)
    assert torch.equal(inputs_of(steepest.arrays(mapped, Y)), inputs_of(steepest.arrays(X, Y)))
    (tmp_path / ROWS).unlink()
    assert torch.equal(inputs_of(steepest.arrays(mapped, Y)), inputs_of(steepest.arrays(X, Y)))


@pytest.mark.usefixtures("little_memory")
def test_what_was_written_into_a_map_is_read(tmp_path: Path) -> None:
    mapped = np.memmap(tmp_path / "raw", np.uint8, "w+", offset=16, shape=X.shape)
    mapped[:] = X
    data = steepest.arrays(mapped, Y)
    assert torch.equal(inputs_of(data), inputs_of(steepest.arrays(X, Y)))
    time.sleep(0.05)
    mapped[3] = 0
    mapped.flush()
    with pytest.raises(steepest.InputError, match="was altered since"):
        inputs_of(data)


@pytest.mark.usefixtures("little_memory")
def test_slices_of_a_map_are_the_parts_that_they_were_given_as(tmp_path: Path) -> None:
    np.save(tmp_path / ROWS, X)
    mapped = np.load(tmp_path / ROWS, mmap_mode="r")
    data = steepest.arrays(mapped[30:], Y[30:], test=(mapped[:30], Y[:30]))
    expected = steepest.arrays(X[30:], Y[30:], test=(X[:30], Y[:30]))
    for part in ("train", "test"):
        assert torch.equal(inputs_of(data, part), inputs_of(expected, part))


def test_rows_in_the_cache_are_read_whatever_their_time_and_not_from_another_file() -> None:
    lines = stored_arrays(X)
    os.utime(lines.path, ns=(1, 1))
    np.testing.assert_array_equal(lines.read(), X)
    other_rows(Path(lines.path))
    with pytest.raises(steepest.InputError, match=r"rows.npy was replaced since its rows were looked at; load it again"):
        lines.read()
    np.testing.assert_array_equal(stored_arrays(X).read(), X)
