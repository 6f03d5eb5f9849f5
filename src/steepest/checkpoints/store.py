"""A folder of checkpoints: each in a directory of its own, with a manifest written last; the newest that verifies is the one.

checkpoints/
latest                              the name of the newest, moved when it is complete
000007-step-1400/
    model.safetensors               the tensors of a section of the state, a file each
    optimizer.safetensors
    state.json                      everything else, and which tensor stands where
    manifest.json                   every file's bytes and SHA-256
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from ..durable import HERE, replace_file, sync_folder, write_file
from ..errors import InputError, reason_of
from .tensors import check_dtypes, pieces_of, read_tensors
from .trees import check_keys, copied, put_together, take_apart

KEPT = 2  # checkpoints, at the least
FORMAT = 1
MANIFEST, STATE, LATEST = "manifest.json", "state.json", "latest"
NAME = re.compile(r"(\d{6})-step-(\d+)")
FILE = re.compile(r"[a-z_]+\.safetensors|state\.json")
MOST_BYTES = 2**20  # of a manifest
MOST_STATE = 2**30  # of state.json


@dataclass(frozen=True)
class Packed:
    """A state ready to be written: what JSON holds, and the tensors of each of its sections."""

    document: Any
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Packed:
        document, tensors = take_apart(state)
        check_dtypes(tensors)
        return cls(document, tensors)

    def copied(self, into: Packed | None = None) -> Packed:
        """Return a copy in memory that later training cannot change; `into` is an earlier one whose memory is used again."""
        return Packed(self.document, copied(self.tensors, into and into.tensors))

    def unpacked(self) -> dict[str, Any]:
        """Return the state again."""
        return put_together(self.document, self.tensors)

    @property
    def nbytes(self) -> int:
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())

    def sections(self) -> dict[str, dict[str, Tensor]]:
        """Return the tensors of each file, by the name that stands before the first dot."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, tensor in self.tensors.items():
            found.setdefault(name.partition(".")[0], {})[name] = tensor
        return found


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read: its state, where it lies, and which newer ones were passed over, and why."""

    state: dict[str, Any]
    folder: Path
    step: int
    passed_over: tuple[str, ...] = ()


@dataclass
class Checkpoints:
    """The checkpoints in a folder.

    Args:
        folder: where they lie, made when the first is written.
        keep: how many stay, the newest ones, at least two.
    """

    folder: Path
    keep: int = KEPT

    def write(self, packed: Packed, step: int) -> Path:
        """Write a checkpoint to the disk, read it back, and only then let older ones go.

        Raises:
            OSError: it could not be written; those before it are as they were.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        number = max((n for n, _, _ in self._named()), default=0) + 1
        temporary = self.folder / f"{HERE}{number:06d}-{secrets.token_hex(4)}"
        try:
            os.mkdir(temporary)
            self._fill(temporary, packed, step)
            sync_folder(temporary)
            final = self.folder / f"{number:06d}-step-{step}"
            os.rename(temporary, final)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(self.folder)
        if why := fault_of(final):
            shutil.rmtree(final, ignore_errors=True)
            raise OSError(5, f"what was written does not read back: {why}", str(final))
        replace_file(self.folder / LATEST, final.name.encode())
        self._tidy()
        return final

    def _fill(self, folder: Path, packed: Packed, step: int) -> None:
        text = json.dumps({"state": packed.document}, separators=(",", ":"), allow_nan=False).encode()
        files = {STATE: write_file(folder / STATE, [text])}
        for section, tensors in packed.sections().items():
            name = f"{section}.safetensors"
            files[name] = write_file(folder / name, pieces_of(tensors))
        told = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in files.items()}
        manifest = {"format": FORMAT, "step": step, "files": told}
        write_file(folder / MANIFEST, [json.dumps(manifest, indent=1).encode()])

    def _tidy(self) -> None:
        """Remove the oldest, and what was left unfinished."""
        for _, _, path in list(self._named())[self.keep :]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"{HERE}*"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _named(self) -> Iterator[tuple[int, int, Path]]:
        """Yield number, step and directory of each, the newest first."""
        with contextlib.suppress(OSError):
            found = [(NAME.fullmatch(path.name), path) for path in self.folder.iterdir()]
            numbered = [(int(match[1]), int(match[2]), path) for match, path in found if match]
            yield from sorted(numbered, reverse=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that verifies, and why newer ones do not; None where there is none."""
        passed_over = []
        for _, step, path in self._named():
            try:
                state = _read(path)
            except InputError as error:
                passed_over.append(str(error))
                continue
            return Checkpoint(state, path, step, tuple(passed_over))
        if passed_over:
            raise InputError(f"no checkpoint in {self.folder} can be read: {passed_over[0]}")
        return None

    def __bool__(self) -> bool:
        return any(True for _ in self._named())

    def delete(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)


def fault_of(folder: Path) -> str:
    """Return what is wrong with the files of a checkpoint, or nothing."""
    try:
        _verified(folder)
    except InputError as error:
        return str(error)
    return ""


def _verified(folder: Path) -> list[str]:
    """Return the names of a checkpoint's files; raise unless each has the bytes that the manifest says."""
    if folder.is_symlink():
        raise InputError(f"{folder} is a link, and no checkpoint")
    manifest = _json(folder / MANIFEST, MOST_BYTES)
    check_keys(f"{folder / MANIFEST}", manifest, ["format", "step", "files"])
    if manifest["format"] != FORMAT:
        raise InputError(f"{folder} is of format {manifest['format']!r}; this version reads {FORMAT}")
    match, files = NAME.fullmatch(folder.name), manifest["files"]
    if not isinstance(files, dict) or STATE not in files or (match and manifest["step"] != int(match[2])):
        raise InputError(f"{folder / MANIFEST} is damaged")
    for name, told in files.items():
        if not FILE.fullmatch(name) or not isinstance(told, dict) or set(told) != {"bytes", "sha256"}:
            raise InputError(f"{folder / MANIFEST} is damaged")
        _check_file(folder / name, told["bytes"], told["sha256"])
    if extra := sorted({path.name for path in folder.iterdir()} - {MANIFEST, *files}):
        raise InputError(f"{folder} holds {extra[0]!r}, which its manifest does not name")
    return list(files)


def _check_file(path: Path, size: Any, sha256: Any) -> None:
    try:
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path} is missing")
        if path.stat().st_size != size:
            raise InputError(f"{path} has {path.stat().st_size:,} bytes, its manifest says {size!r}")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None
    if found != sha256:
        raise InputError(f"{path} is damaged: its SHA-256 is not the one in its manifest")


def _read(folder: Path) -> dict[str, Any]:
    """Return the state of a checkpoint, every byte of which was verified."""
    tensors: dict[str, Tensor] = {}
    for name in _verified(folder):
        if name != STATE:
            tensors |= read_tensors(folder / name)
    document = _json(folder / STATE, MOST_STATE)
    check_keys(f"{folder / STATE}", document, ["state"])
    try:
        state = put_together(document["state"], tensors)
    except (RecursionError, TypeError):  # of its own making no checkpoint is that deep, nor has lists as keys
        raise InputError(f"{folder / STATE} is damaged") from None
    if not isinstance(state, dict):
        raise InputError(f"{folder / STATE} is damaged")
    return state


def _json(path: Path, most: int) -> Any:
    """Return what a file of JSON holds, if it is not longer than it can be."""
    if path.is_symlink():
        raise InputError(f"{path} is a link")
    try:
        with path.open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None
    if len(content) > most:
        raise InputError(f"{path} is longer than the {most:,} bytes that it can be")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise InputError(f"{path} is damaged: it is not JSON") from None
