"""Damaged files by the thousand for the readers of checkpoints, idx files, npz archives and journals."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import random
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from steepest.checkpoints import Checkpoints, Packed
from steepest.checkpoints.tensors import read_tensors
from steepest.data.archives import read_archive
from steepest.data.images import read_idx
from steepest.errors import InputError
from steepest.index import summary
from steepest.records import Record

INTERESTING = (
    b"\x00",
    b"\xff",
    b"\x80",
    b"\n",
    b'"',
    b"{",
    b"}",
    b"[" * 50,
    b"-1",
    b"1e999",
    b"null",
    b"\xff" * 8,
    b"\x00" * 8,
)


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return a file with a few things done to it."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        at, way = rng.randrange(len(found) + 1), rng.randrange(6)
        if way == 0 and found:
            found[at % len(found)] ^= 1 << rng.randrange(8)
        elif way == 1:
            found[at:at] = rng.choice(INTERESTING)
        elif way == 2:
            piece = rng.choice(INTERESTING)
            found[at : at + len(piece)] = piece
        elif way == 3:
            del found[at : at + rng.choice((1, 2, 8, 64))]
        elif way == 4:
            del found[at:]
        elif found:
            begin = rng.randrange(len(found))
            found[at:at] = found[begin : begin + rng.choice((1, 8, 64))]
    return bytes(found)


@dataclass
class Target:
    """A reader, a whole file that it reads, and where that file lies."""

    name: str
    read: Callable[[Path], object]
    content: bytes
    file: str
    tries: int = 0
    found: list[tuple[bytes, str]] = field(default_factory=list)

    def attempt(self, folder: Path, content: bytes) -> None:
        """Have a damaged file read: what is neither read nor refused is kept."""
        path = folder / self.file
        path.write_bytes(content)
        self.tries += 1
        try:
            self.read(path)
        except InputError:
            pass
        except Exception as error:
            self.found.append((content, f"{type(error).__name__}: {error}"))


def signed(path: Path) -> object:
    """Read a checkpoint whose manifest says the truth about a damaged file."""
    folder = path.parent
    manifest = json.loads((folder / "manifest.json").read_text())
    content = path.read_bytes()
    manifest["files"][path.name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return Checkpoints(folder.parent).newest()


def journal(path: Path) -> object:
    record = Record("run", "f0000", path.parent)
    return list(record.events()), summary(record)


def targets(folder: Path) -> list[tuple[Target, Path]]:
    """Return every reader with a whole file, and the folder that it lies in."""
    state = {
        "model": {"w": torch.ones(3, 4), "b": torch.zeros(2)},
        "training": {"step": 3, "losses": (0.5, float("inf")), 7: None},
    }
    stores = [Checkpoints(folder / name) for name in ("tensors", "numbers", "manifest")]
    folders = [store.write(Packed.of(state), 3) for store in stores]
    (folder / "alone").mkdir()
    (folder / "idx").mkdir()
    (folder / "npz").mkdir()
    (folder / "journal").mkdir()
    archive = io.BytesIO()
    np.savez(archive, X=np.arange(24, dtype=np.float32).reshape(6, 4), y=np.arange(6))
    lines = [{"event": "start", "at": 1.0, "task": "t", "label": "l"}, {"event": "evaluation", "step": 1, "loss": 0.5}]
    lines.append({"event": "end", "at": 2.0, "status": "finished", "seconds": 3.0, "result": "accuracy 1"})
    tensors = (folders[0] / "model.safetensors").read_bytes()
    return [
        (Target("a checkpoint's tensors", signed, tensors, "model.safetensors"), folders[0]),
        (Target("a checkpoint's numbers", signed, (folders[1] / "state.json").read_bytes(), "state.json"), folders[1]),
        (
            Target(
                "a checkpoint's manifest",
                lambda path: Checkpoints(path.parent.parent).newest(),
                (folders[2] / "manifest.json").read_bytes(),
                "manifest.json",
            ),
            folders[2],
        ),
        (Target("tensors", read_tensors, tensors, "w.safetensors"), folder / "alone"),
        (Target("idx", read_idx, struct.pack(">IIII", 0x803, 2, 3, 4) + bytes(range(24)), "t-idx3-ubyte"), folder / "idx"),
        (Target("npz", read_archive, archive.getvalue(), "t.npz"), folder / "npz"),
        (Target("a journal", journal, "\n".join(map(json.dumps, lines)).encode() + b"\n", "record.jsonl"), folder / "journal"),
    ]


def fuzz(folder: Path, seconds: float, seed: int = 0) -> list[Target]:
    """Damage files for so long, all readers in turns; return them with what they stumbled over."""
    rng, every = random.Random(seed), targets(folder)
    logging.disable(logging.WARNING)
    try:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for target, where in every:
                target.attempt(where, mutated(target.content, rng))
    finally:
        logging.disable(logging.NOTSET)
    return [target for target, _ in every]
