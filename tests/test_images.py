"""Images in files: folders of classes, what their heads promise, what cannot be read; CIFAR-10's batches and npz archives."""

from __future__ import annotations

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import steepest
from steepest.cli import main
from steepest.data import archives, cifar, load, pictures
from steepest.data.cleaning import CleaningReport

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)


def pixels(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 12, shape: tuple[int, ...] = (8, 6, 3)) -> Path:
    for name in classes:
        for i in range(count):
            save(root / name / f"{i:02}.png", pixels(*shape))
    return root


def findings(data: steepest.Data) -> dict[str, int]:
    return {finding.what: finding.count for finding in data.cleaning.findings}


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_a_class_becomes_one_array(tmp_path: Path) -> None:
    data = load(folder(tmp_path / "pets"))
    assert (data.name, data.kind, len(data), data.form.shape) == ("pets", "image", 24, (3, 8, 6))
    assert data.targets.classes == ("cat", "dog")
    first = np.asarray(Image.open(tmp_path / "pets" / "cat" / "00.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(data.inputs.take(np.array([0])).values[0], first)  # type: ignore[attr-defined]
    assert data.inputs.values.dtype == np.uint8  # type: ignore[attr-defined]
    assert load("pets").parts["train"].tolist() == data.parts["train"].tolist()


def test_grey_stays_one_channel_and_one_colour_image_makes_all_colour(tmp_path: Path) -> None:
    root = folder(tmp_path / "grey", shape=(8, 6))
    assert load(root).form.shape == (1, 8, 6)
    save(root / "cat" / "colour.png", pixels(8, 6, 3))
    assert load(root).form.shape == (3, 8, 6)


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "bmp", "webp", "gif"])
def test_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    plain = np.full((16, 16, 3), 200, dtype=np.uint8)
    for name in ("a", "b"):
        for i in range(6):
            save(tmp_path / "set" / name / f"{i}.{suffix}", plain)
    data = load(tmp_path / "set")
    assert len(data) == 12
    assert np.abs(data.inputs.values.astype(int) - 200).max() <= 3  # type: ignore[attr-defined]


def test_the_first_frame_of_a_gif(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((8, 8), grey, dtype=np.uint8)) for grey in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    values, _ = pictures.decode([tmp_path / "a.gif"], ["a.gif"], CleaningReport())
    assert np.abs(values.astype(int) - 10).max() <= 1


def test_different_sizes_are_told_and_resized_when_asked(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    save(root / "dog" / "large.png", pixels(20, 30, 3))
    with pytest.raises(steepest.InputError) as told:
        load(root)
    for piece in ("00.png is 8 x 6", "large.png is 20 x 30", "size=(8, 6)", "--size 8x6"):
        assert piece in str(told.value)
    data = steepest.read_images(root, size=(10, 12))
    assert data.form.shape == (3, 10, 12)
    assert findings(data)["images of another size"] == 25
    assert findings(steepest.read_images(root, size=(8, 6)))["images of another size"] == 1
    assert steepest.read_images(root, size=7).form.shape == (3, 7, 7)


@pytest.mark.parametrize("size", [(0, 3), "8x8", (3,), (2.5, 2), True, -1])
def test_a_wrong_size(tmp_path: Path, size: object) -> None:
    with pytest.raises(steepest.InputError, match=r"size must be \(height, width\)"):
        steepest.read_images(folder(tmp_path / "set"), size=size)


def test_size_is_for_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", X=pixels(40, 4, 4), y=np.arange(40) % 2)
    with pytest.raises(steepest.InputError, match="size is for folders of image files"):
        load("t.npz", size=(8, 8))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_exif_sets_images_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    """Against Pillow's own transposition."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"quality": 95} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", pixels(8, 12, 3), exif=exif, **lossless)
    values, _ = pictures.decode([path], ["a"], CleaningReport())
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal(values[0], expected)


def test_transparency_and_depth(tmp_path: Path) -> None:
    clear = np.zeros((4, 4, 4), dtype=np.uint8)
    clear[:2, :, 3] = 255
    deep = (np.arange(16, dtype=np.uint16) * 4096).reshape(4, 4)
    report = CleaningReport()
    values, _ = pictures.decode([save(tmp_path / "a.png", clear)], ["a"], report)
    assert values[0, :, :2].max() == 0
    assert values[0, :, 2:].min() == 255
    values, _ = pictures.decode([save(tmp_path / "b.png", deep)], ["b"], report)
    np.testing.assert_array_equal(values[0, 0], deep >> 8)
    assert [finding.what for finding in report.findings] == ["images with transparency", "images of 16 bits"]
    palette = Image.fromarray(pixels(8, 8, 3)).quantize(16)
    palette.info["transparency"] = bytes(range(16))
    palette.save(tmp_path / "c.png")
    assert pictures.decode([tmp_path / "c.png"], ["c"], report)[0].shape == (1, 3, 8, 8)


def test_train_test_and_validation_folders_are_those_parts(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for part, count in (("train", 20), ("test", 5), ("val", 4)):
        folder(root / part, count=count)
    (root / "notes").mkdir()
    data = load(root)
    assert {name: len(rows) for name, rows in data.parts.items()} == {
        "train": 34, "validation": 8, "test": 10, "certificate": 6,
    }  # fmt: skip
    assert data.test_given
    assert findings(data)["folders beside train, test and validation"] == 1
    files = sorted((root / "test").glob("*/*.png"))
    tested = np.stack([np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files])
    np.testing.assert_array_equal(data.inputs.take(data.parts["test"]).values, tested)  # type: ignore[attr-defined]
    folder(root / "test", classes=("bird",), count=2)
    with pytest.raises(steepest.InputError, match="class 'bird' of the test part does not occur in the train part"):
        load(root)


def test_a_test_folder_without_labels_is_left_out(tmp_path: Path) -> None:
    folder(tmp_path / "set" / "train", count=20)
    save(tmp_path / "set" / "test" / "1.png", pixels(8, 6, 3))
    data = load(tmp_path / "set")
    assert not data.test_given
    assert findings(data)["images in test outside a folder of a class"] == 1
    assert data.size("test") == 6


def test_what_is_no_image_is_counted(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    (root / "cat" / "notes.txt").write_text("cats")
    (root / "cat" / ".hidden.png").write_bytes(b"")
    (root / "cat" / "more").mkdir()
    (root / "bird").mkdir()
    (root / "__MACOSX").mkdir()
    found = findings(load(root))
    assert found == {"folders without images": 1, "folders inside a folder of a class": 1, "files that are no images": 1}


def test_a_folder_of_one_class_and_one_without(tmp_path: Path) -> None:
    with pytest.raises(steepest.InputError, match=r"all files are in one folder \(cat\)"):
        load(folder(tmp_path / "one", classes=("cat",)))
    (tmp_path / "none" / "cat").mkdir(parents=True)
    with pytest.raises(steepest.InputError, match="without a folder a class of images"):
        load(tmp_path / "none")


def test_names_of_all_scripts(tmp_path: Path) -> None:
    composed, taken_apart = "gr\u00fcn", "gru\u0308n"
    folder(tmp_path / "set" / "train", classes=(composed, "猫"), count=20)
    folder(tmp_path / "set" / "test", classes=(taken_apart, "猫"), count=4)
    data = load(tmp_path / "set")
    assert data.targets.classes == (composed, "猫")
    assert data.size("test") == 8


def test_a_name_that_is_not_utf8(tmp_path: Path) -> None:
    root = folder(tmp_path / "set")
    os.rename(root / "cat", os.fsencode(root) + b"/c\xff")
    with pytest.raises(steepest.InputError, match=r"c\\xff': the name of a class must be UTF-8"):
        load(root)


# -- hostile files ----------------------------------------------------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """Return a small png that promises many pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def truncated(suffix: str, share: float = 0.6) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(32, 32, 3)).save(file, format={"jpg": "jpeg"}.get(suffix, suffix))
    return file.getvalue()[: int(share * len(file.getvalue()))]


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "gif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_truncated_images_stop_or_are_left_out(tmp_path: Path, suffix: str, share: float) -> None:
    root = folder(tmp_path / "set", shape=(32, 32, 3))
    (root / "cat" / f"broken.{suffix}").write_bytes(truncated(suffix, share))
    with pytest.raises(steepest.InputError) as told:
        load(root)
    assert f"broken.{suffix}" in str(told.value)
    assert "--on-bad-row skip" in str(told.value)
    assert "\n" not in str(told.value)
    data = load(root, on_bad_row="skip")
    assert len(data) == 24
    assert findings(data)["images that cannot be read"] == 1
    assert f"broken.{suffix}" in str(data.cleaning)


def test_skipped_images_leave_rows_and_labels_together(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name, grey in (("dark", 10), ("light", 200)):
        for i in range(8):
            save(root / name / f"{i}.png", np.full((32, 32, 3), grey, dtype=np.uint8))
    for i in (0, 4):
        (root / "dark" / f"{i}.png").write_bytes(truncated("png"))
    (root / "light" / "1.png").write_bytes(b"no image")
    data = load(root, on_bad_row="skip")
    np.testing.assert_array_equal(data.inputs.values.mean(axis=(1, 2, 3)) > 100, data.targets.values)  # type: ignore[attr-defined]
    assert len(data) == 13


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a readable image"),
        (b"GIF89a", "is not a readable image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "is not a readable image (expected png"),
        (bomb(200_000, 200_000), "promises too many pixels"),
        (bomb(0, 8), "is not a readable image"),
    ],
    ids=["empty", "head only", "postscript", "bomb", "no pixels"],
)
def test_no_images_under_the_name_of_one(tmp_path: Path, content: bytes, message: str) -> None:
    root = folder(tmp_path / "set")
    (root / "cat" / "x.png").write_bytes(content)
    with pytest.raises(steepest.InputError) as told:
        load(root)
    assert message in str(told.value)
    assert "x.png" in str(told.value)


def test_what_is_promised_is_held_against_free_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set")
    monkeypatch.setattr(pictures, "free_memory", lambda: 4 * 2**20)
    (root / "cat" / "large.png").write_bytes(bomb(2000, 2000))
    with pytest.raises(steepest.InputError, match=r"large.png promises 2,000 x 2,000 pixels, more than half"):
        load(root)
    (root / "cat" / "large.png").unlink()
    with pytest.raises(steepest.InputError, match=r"24 images of 400 x 400 take 11,520,000 bytes.*give a smaller size"):
        load(root, size=(400, 400))


def test_unreadable_files_and_circles_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set")
    (root / "cat" / "loop").symlink_to(root)
    (root / "again").symlink_to(root)
    assert len(load(root)) == 24
    (root / "dog" / "self.png").symlink_to("self.png")
    with pytest.raises(steepest.InputError, match=r"self.png cannot be read: Too many levels of symbolic links"):
        load(root)
    (root / "dog" / "self.png").unlink()
    (root / "self").symlink_to("self")
    assert len(load(root)) == 24

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Image, "open", refuse)
        with pytest.raises(steepest.InputError, match=r"00.png cannot be read: Permission denied"):
            load(root)
    scan = os.scandir
    for name in ("set", "cat"):
        with monkeypatch.context() as patch:
            patch.setattr(os, "scandir", lambda path, name=name: refuse() if str(path).endswith(name) else scan(path))
            with pytest.raises(steepest.InputError, match=f"{name} cannot be read: Permission denied"):
                load(root)


# -- learning and predicting ------------------------------------------------------------------------------------------


def test_fit_and_predict_files(tmp_path: Path) -> None:
    for name, grey in (("dark", 40), ("light", 200)):
        for i in range(30):
            save(tmp_path / "set" / name / f"{i}.png", np.clip(grey + RNG.normal(0, 20, (8, 8)), 0, 255).astype(np.uint8))
    assert main(["fit", "set", "--size", "6x6", "--epochs", "60", "--reach", "accuracy>=0.8", "--model", "linear_model()"]) == 0
    run = steepest.load_run("last")
    assert run.task is not None
    assert run.task.data.form.shape == (1, 6, 6)
    bright = save(tmp_path / "new.png", np.full((20, 30, 3), 220, dtype=np.uint8))
    assert run.predict(bright).tolist() == ["light"]
    with Image.open(bright) as image:
        assert run.predict([image, image]).tolist() == ["light", "light"]
    assert run.predict([str(bright), tmp_path / "set" / "dark" / "0.png"]).tolist() == ["light", "dark"]
    assert run.predict(np.full((1, 6, 6), 30, dtype=np.uint8)).tolist() == ["dark"]
    with pytest.raises(steepest.InputError, match=r"nowhere.png cannot be read: No such file or directory$"):
        run.predict("nowhere.png")


@pytest.mark.parametrize("size", ["big", "8x", "8x8x8", "0x8"])
def test_a_wrong_size_on_the_command_line(tmp_path: Path, size: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder(tmp_path / "set")
    assert main(["fit", "set", "--size", size]) == 2
    assert "--size takes height x width in pixels such as 32x32" in capsys.readouterr().err


def test_a_label_for_a_folder_of_images(tmp_path: Path) -> None:
    with pytest.raises(steepest.InputError, match="holds images with labels of their own"):
        load(folder(tmp_path / "set"), label="x")


def test_pillow_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder(tmp_path / "set")
    pictures._pillow.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(steepest.MissingExtraError, match=r"reading images needs pillow: pip install 'steepest\[images\]'"):
        load(root)
    pictures._pillow.cache_clear()


# -- Datasets of PyTorch's --------------------------------------------------------------------------------------------


class Pictures(torch.utils.data.Dataset):
    """A Dataset as torchvision's without a transform."""

    def __len__(self) -> int:
        return 40

    def __getitem__(self, i: int) -> tuple[object, int]:
        return Image.fromarray(np.full((5, 5), 10 + i, dtype=np.uint8)), i % 2


def test_a_dataset_of_pillow_images_is_decoded_once() -> None:
    for source in (Pictures(), torch.utils.data.DataLoader(Pictures(), batch_size=4)):
        data = load(source)
        assert (data.kind, data.form.shape) == ("image", (1, 5, 5))
        np.testing.assert_array_equal(data.inputs.values[:, 0, 0, 0], np.arange(10, 50))  # type: ignore[attr-defined]
    assert load(Pictures(), size=(3, 4)).form.shape == (1, 3, 4)


class Stream(torch.utils.data.IterableDataset):
    """A Dataset that can only be gone through."""

    def __iter__(self):  # type: ignore[no-untyped-def]
        yield torch.zeros(3), 0

    def __len__(self) -> int:
        return 1


@pytest.mark.parametrize("source", [Stream(), torch.utils.data.DataLoader(Stream())])
def test_a_stream_is_told(source: object) -> None:
    with pytest.raises(steepest.InputError, match=r"expected a map-style Dataset .* \(got Stream\)"):
        steepest.task(source)


# -- CIFAR-10 ---------------------------------------------------------------------------------------------------------


def batch(labels: list[int]) -> bytes:
    return b"".join(bytes([label]) + pixels(3072).tobytes() for label in labels)


def cifar_archive(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


MEMBERS = {
    "batches.meta.txt": b"airplane\n", "data_batch_2.bin": batch([3, 5] * 20), "data_batch_1.bin": batch([5, 3] * 20),
    "test_batch.bin": batch([3, 5, 5]),
}  # fmt: skip


def test_cifar_is_read_from_its_archive_and_from_its_batches(tmp_path: Path) -> None:
    archive = cifar_archive(tmp_path / cifar.ARCHIVE, MEMBERS)
    (tmp_path / "bin").mkdir()
    for name, content in MEMBERS.items():
        (tmp_path / "bin" / name).write_bytes(content)
    one, other, third = load(archive), load(tmp_path / "bin"), load(tmp_path)
    assert (one.form.shape, one.size("test"), len(one)) == ((3, 32, 32), 3, 83)
    assert one.targets.classes == ("cat", "dog")
    first = np.frombuffer(MEMBERS["data_batch_1.bin"], dtype=np.uint8)[1:3073].reshape(3, 32, 32)
    for data in (one, other, third):
        np.testing.assert_array_equal(data.inputs.values[0], first)  # type: ignore[attr-defined]
        assert data.targets.values[:2].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({}, "no data_batch_1.bin in it"),
        ({"data_batch_1.bin": batch([1, 2])[:-1]}, "data_batch_1.bin has 6,145 bytes; expected rows of 3,073"),
        ({"data_batch_1.bin": b""}, "has 0 bytes"),
        ({"data_batch_1.bin": batch([1, 10])}, "a row of class 10; CIFAR-10 has classes 0 to 9"),
        ({"data_batch_1.bin": bytes(cifar.MAX_BATCH + cifar.ROW)}, "expected at most 30,730,000"),
    ],
    ids=["nothing", "cut off", "empty", "a class too many", "too large"],
)
def test_archives_that_are_not_cifar(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    with pytest.raises(steepest.InputError, match=message):
        load(cifar_archive(tmp_path / cifar.ARCHIVE, members))


def test_a_damaged_cifar_archive(tmp_path: Path) -> None:
    path = cifar_archive(tmp_path / cifar.ARCHIVE, MEMBERS)
    for content in (path.read_bytes()[:5000], b"nothing of the kind" * 99):
        path.write_bytes(content)
        with pytest.raises(steepest.InputError, match="is a damaged archive"):
            load(path)


# -- npz archives that lie --------------------------------------------------------------------------------------------


def test_a_zip_bomb_is_refused_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "t.npz", X=np.zeros((2000, 32, 32), dtype=np.uint8), y=np.arange(2000) % 2)
    monkeypatch.setattr(archives, "free_memory", lambda: 2**20)
    with pytest.raises(steepest.InputError, match=r"bytes promise 2,0\d\d,\d\d\d unpacked, more than half of the free memory"):
        load("t.npz")


def npy(shape: tuple[int, ...], content: bytes) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return file.getvalue() + content


@pytest.mark.parametrize(
    ("shape", "message"),
    [((10**9, 10**6), "promise 1,000,000,0"), ((60, 8, 8), "is not a readable npz archive"), ((-1, 8), "npz archive")],
)
def test_a_header_that_lies(tmp_path: Path, shape: tuple[int, ...], message: str) -> None:
    with zipfile.ZipFile(tmp_path / "t.npz", "w") as archive:
        archive.writestr("X.npy", npy(shape, bytes(100)))
        archive.writestr("y.npy", npy((60,), bytes(range(2)) * 30))
    with pytest.raises(steepest.InputError, match=message):
        load("t.npz")


def test_a_zip_that_understates_its_members(tmp_path: Path) -> None:
    """The directory of the archive says 100 bytes; what is unpacked is more, and no more than that is believed."""
    np.savez_compressed(tmp_path / "t.npz", X=np.zeros((500, 64, 64), dtype=np.uint8), y=np.arange(500) % 2)
    content = bytearray((tmp_path / "t.npz").read_bytes())
    at = content.find(b"PK\x01\x02")
    content[at + 24 : at + 28] = struct.pack("<I", 200)
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(steepest.InputError, match="is not a readable npz archive"):
        load("t.npz")


@pytest.mark.parametrize("shape", [(20, 1, 0, 8), (20, 8, 8, 0), (20, 0)])
def test_rows_of_nothing(shape: tuple[int, ...]) -> None:
    with pytest.raises(steepest.InputError, match=r"X: expected numbers in each row \(got shape"):
        steepest.arrays(np.zeros(shape, dtype=np.uint8), np.arange(20) % 2)
