"""Checkpoints on the disk: what is written reads back bit for bit, and what is damaged is told and passed over."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from steepest import durable
from steepest.checkpoints import Checkpoints, Packed, check_keys
from steepest.checkpoints.store import fault_of
from steepest.checkpoints.tensors import CODES, read_tensors
from steepest.checkpoints.trees import put_together, take_apart
from steepest.errors import InputError

STATE: dict[str, Any] = {
    "model": {"weight": torch.arange(6.0).reshape(2, 3), "count": torch.tensor(3), "empty": torch.empty(0, 4)},
    "training": {"step": 7, "losses": (0.1, float("nan"), float("-inf")), "groups": {0: {"lr": 1e-3}, 1: None}, "name": "ä"},
}


def written(folder: Path, step: int = 7, state: dict[str, Any] = STATE, **how: Any) -> Checkpoints:
    store = Checkpoints(folder / "checkpoints", **how)
    store.write(Packed.of(state), step)
    return store


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        bits = [t.contiguous().reshape(-1).view(torch.uint8) if t.numel() else t for t in (one, other)]
        return one.dtype == other.dtype and one.shape == other.shape and torch.equal(*bits)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or repr(one) == repr(other) == "nan")


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    found = written(tmp_path).newest()
    assert found is not None
    assert same(found.state, STATE)
    assert (found.step, found.folder.name, found.passed_over) == (7, "000001-step-7", ())
    assert (tmp_path / "checkpoints/latest").read_text() == "000001-step-7"


@pytest.mark.parametrize("dtype", CODES, ids=str)
def test_every_kind_of_number_is_kept(dtype: torch.dtype, tmp_path: Path) -> None:
    bits = torch.randint(0, 2, (3, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    tensor = bits.view(dtype) if dtype != torch.bool else bits.bool()
    found = written(tmp_path, state={"model": {"w": tensor, "t": tensor.mT}}).newest()
    assert found is not None
    assert same(found.state["model"], {"w": tensor, "t": tensor.mT.contiguous()})


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(TREES)
@settings(deadline=None)
def test_any_tree_of_plain_values_is_kept(tree: Any) -> None:
    document, tensors = take_apart(tree)
    assert same(put_together(json.loads(json.dumps(document, allow_nan=False)), tensors), tree)


def test_tensors_of_the_same_name_and_the_same_tensor() -> None:
    one, other = torch.ones(2), torch.zeros(2)
    tree = {"a.b": one, "a": {"b": other}, "again": one}
    document, tensors = take_apart(tree)
    assert len(tensors) == 2
    assert same(put_together(document, tensors), tree)


def test_what_cannot_be_kept_is_told() -> None:
    with pytest.raises(InputError, match=r"model\.extra is a set .* which a checkpoint cannot keep; expected tensors"):
        Packed.of({"model": {"extra": {1, 2}}})
    with pytest.raises(InputError, match=r"model\.w is a tensor of torch.sparse_coo, which a checkpoint cannot keep"):
        Packed.of({"model": {"w": torch.eye(2).to_sparse()}})


def test_each_item_that_is_lost_or_too_many_is_told() -> None:
    document, tensors = take_apart(STATE)
    for name in tensors:
        with pytest.raises(InputError, match=f"the state lacks the tensor '{name}'"):
            put_together(document, {key: tensor for key, tensor in tensors.items() if key != name})
    with pytest.raises(InputError, match="holds the tensor 'more', which nothing in it names"):
        put_together(document, tensors | {"more": torch.ones(1)})
    with pytest.raises(InputError, match="the state holds 'b', which is unknown here"):
        check_keys("the state", {"a": 1, "b": 2}, ["a"])


def test_files_are_the_size_of_the_state(tmp_path: Path) -> None:
    state = {"model": {"w": torch.zeros(1_000_000)}, "optimizer": {"m": torch.zeros(2_000_000)}}
    folder = written(tmp_path, state=state).folder / "000001-step-7"
    assert sum(path.stat().st_size for path in folder.iterdir()) == pytest.approx(12_000_000, rel=0.01)


def test_the_newest_two_stay(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path / "checkpoints")
    for step in (5, 9, 7):  # 7 after 9: the training has stepped back
        store.write(Packed.of(STATE), step)
    assert sorted(path.name for path in store.folder.iterdir()) == ["000002-step-9", "000003-step-7", "latest"]
    found = store.newest()
    assert found is not None
    assert found.step == 7


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lie(folder: Path, **changes: Any) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


def with_file(folder: Path, name: str, content: bytes) -> None:
    """Have the manifest say the truth about other bytes: what is left is what the content says."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "one bit": (lambda f: flip(f / "model.safetensors"), "model.safetensors is damaged: its SHA-256"),
    "one bit of the numbers": (lambda f: flip(f / "state.json"), "state.json is damaged: its SHA-256"),
    "cut off": (lambda f: os.truncate(f / "model.safetensors", 20), "has 20 bytes, its manifest says"),
    "a file is missing": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json cannot be read: No such file"),
    "an empty manifest": (lambda f: (f / "manifest.json").write_bytes(b""), "manifest.json is damaged: it is not JSON"),
    "a manifest of nothing": (lambda f: (f / "manifest.json").write_text("{}"), "lacks 'files'"),
    "a manifest without files": (lambda f: lie(f, files={}), "manifest.json is damaged"),
    "a manifest of another step": (lambda f: lie(f, step=8), "manifest.json is damaged"),
    "a manifest of the future": (lambda f: lie(f, format=2), "is of format 2; this version reads 1"),
    "a manifest that is huge": (
        lambda f: (f / "manifest.json").write_bytes(b" " * 2**21),
        "is longer than the 1,048,576 bytes",
    ),
    "a manifest that is deep": (lambda f: (f / "manifest.json").write_bytes(b"[" * 10**5), "it is not JSON"),
    "a path that leaves": (lambda f: lie(f, files={"../../etc": {"bytes": 1, "sha256": "0"}}), "manifest.json is damaged"),
    "one file too many": (lambda f: (f / "more").write_text(""), "holds 'more', which its manifest does not name"),
    "a link": (lambda f: ((f / "state.json").unlink(), (f / "state.json").symlink_to("/etc/passwd")), "state.json is missing"),
    "a pickle": (lambda f: with_file(f, "model.safetensors", b"\x80\x04cos\nsystem\n."), "is no file of tensors"),
    "a header that is huge": (lambda f: with_file(f, "model.safetensors", b"\xff" * 8 + b"{}"), "is no file of tensors"),
    "numbers that are deep": (lambda f: with_file(f, "state.json", b"[" * 10**5), "it is not JSON"),
    "numbers that are other": (lambda f: with_file(f, "state.json", b'{"state": {"$": "code"}}'), "which no checkpoint writes"),
    "numbers without a tensor": (lambda f: with_file(f, "state.json", b'{"state": {}}'), "which nothing in it names"),
    "a list as a key": (lambda f: with_file(f, "state.json", b'{"state": {"$": "dict", "of": [[[], 1]]}}'), "no checkpoint"),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_what_is_damaged_is_passed_over_and_told(how: str, tmp_path: Path) -> None:
    store = written(tmp_path, 7)
    newest = store.write(Packed.of(STATE), 9)
    damage, reason = DAMAGE[how]
    damage(newest)
    found = store.newest()
    assert found is not None
    assert found.step == 7
    assert len(found.passed_over) == 1
    assert reason in found.passed_over[0]
    assert "\n" not in found.passed_over[0]
    shutil.rmtree(found.folder)
    with pytest.raises(InputError, match=r"no checkpoint in .* can be read: "):
        store.newest()


HEADERS = {
    "negative": '{"w": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
    "overlapping": '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}',  # noqa: E501
    "beyond the end": '{"w": {"dtype": "F32", "shape": [1000000000], "data_offsets": [0, 4000000000]}}',
    "more elements than numbers count": '{"w": {"dtype": "F32", "shape": [4294967296, 4294967296], "data_offsets": [0, 4]}}',
    "backwards": '{"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}',
    "unknown": '{"w": {"dtype": "PYTHON", "shape": [1], "data_offsets": [0, 4]}}',
    "no offsets": '{"w": {"dtype": "F32", "shape": [1]}}',
}


@pytest.mark.parametrize("how", HEADERS)
def test_crafted_headers_are_refused(how: str, tmp_path: Path) -> None:
    text = HEADERS[how].encode()
    (tmp_path / "w.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)
    with pytest.raises(InputError, match="is no file of tensors"):
        read_tensors(tmp_path / "w.safetensors")


def failing(name: str, number: int, error: int) -> tuple[Any, list[int]]:
    """Return a stand-in for the module `os` whose n-th call of a function fails."""
    calls = [0]

    def call(*given: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            raise OSError(error, os.strerror(error))
        return getattr(os, name)(*given, **named)

    names = {each: getattr(os, each) for each in dir(os)}
    return SimpleNamespace(**(names | {name: call})), calls


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EACCES], ids=errno.errorcode.get)
@pytest.mark.parametrize("name", ["open", "write", "fsync", "replace"])
def test_a_disk_that_fails_anywhere_leaves_the_one_before(
    name: str, error: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = written(tmp_path, 7)
    counting, calls = failing(name, 0, error)
    with monkeypatch.context() as patch:
        patch.setattr(durable, "os", counting)
        store.write(Packed.of(STATE), 8)
    assert calls[0] > 0
    for number in range(1, calls[0] + 1):
        broken, _ = failing(name, number, error)
        with monkeypatch.context() as patch:
            patch.setattr(durable, "os", broken)
            with pytest.raises(OSError, match=os.strerror(error)):
                store.write(Packed.of(STATE), 9)
        found = store.newest()
        assert found is not None
        assert same(found.state, STATE)
        assert not found.passed_over
    store.write(Packed.of(STATE), 10)
    assert len([path for path in store.folder.iterdir() if path.name.startswith(".")]) == 0


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {each: getattr(os, each) for each in dir(os)}
    short = SimpleNamespace(**(names | {"write": lambda handle, view: os.write(handle, view[:7])}))
    monkeypatch.setattr(durable, "os", short)
    found = written(tmp_path).newest()
    assert found is not None
    assert same(found.state, STATE)


def test_what_does_not_read_back_is_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = written(tmp_path, 7)
    monkeypatch.setattr("steepest.checkpoints.store.fault_of", lambda folder: "it is damaged")
    with pytest.raises(OSError, match="what was written does not read back: it is damaged"):
        store.write(Packed.of(STATE), 9)
    found = store.newest()
    assert found is not None
    assert found.step == 7


def test_a_copy_cannot_be_changed_by_training() -> None:
    weights = torch.ones(3)
    packed = Packed.of({"model": {"w": weights}})
    first = packed.copied()
    weights.zero_()
    assert same(first.unpacked(), {"model": {"w": torch.ones(3)}})
    again = packed.copied(first)
    assert again.tensors["model.w"].data_ptr() == first.tensors["model.w"].data_ptr()
    assert fault_of(Path("nowhere")) != ""
