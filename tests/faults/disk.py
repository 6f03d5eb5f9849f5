"""Disks that are full, read-only or broken, at every write of a run; many writers on one home; journals torn at every byte."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import multiprocessing
import os
import resource
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch

import steepest
from steepest import index, records
from steepest.records import Record

from . import work

ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO)
CALLS = ("open", "write", "fsync", "replace", "rename", "mkdir")
RECIPE = "Recipe(adamw(0.01), batch=16, epochs=3)"


class Broken:
    """A stand-in for `os` in the modules that write: the n-th call that changes the disk fails, or all from it on."""

    def __init__(self, number: int, error: int, *, lasting: bool = False) -> None:
        self.calls, self.number, self.error, self.lasting = 0, number, error, lasting

    def module(self) -> Any:
        names = {name: getattr(os, name) for name in dir(os)}
        return SimpleNamespace(**(names | {name: self._failing(name) for name in CALLS}))

    def _failing(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            self.calls += 1
            if self.calls == self.number or (self.lasting and self.calls > self.number > 0):
                raise OSError(self.error, os.strerror(self.error), "the disk")
            return getattr(os, name)(*given, **named)

        return call

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        module = self.module()
        with patch("steepest.durable.os", module), patch("steepest.checkpoints.store.os", module):
            yield


def _fit(home: Path) -> steepest.Run:
    return steepest.fit("iris", recipe=RECIPE, home=home, checkpoint_every=4, evaluate_every=7, progress=False)


def every_write(folder: Path, every: int = 1) -> tuple[int, list[str]]:
    """Have each call that changes the disk fail in turn, for once and for good; return how often, and what went wrong."""
    counting = Broken(0, 0)
    with counting.in_place():
        expected = _fit(folder / "calm").facts["weights_sha256"]
    wrong, tries = [], 0
    for number in range(1, counting.calls + 1, every):
        for error in ERRORS:
            for lasting in (False, True):
                tries += 1
                home = folder / f"{number}-{error}-{lasting}"
                if reason := _goes_wrong(home, Broken(number, error, lasting=lasting), expected):
                    wrong.append(f"call {number}, {errno.errorcode[error]}{', for good' * lasting}: {reason}")
    return tries, wrong


def _goes_wrong(home: Path, broken: Broken, expected: str) -> str:
    """Return what is wrong with a run on a disk that fails, or nothing."""
    logging.disable(logging.WARNING)
    try:
        with broken.in_place():
            run = _fit(home)
    except (steepest.InputError, OSError) as error:  # it never began: nothing may be left that looks as if it had
        begun = [row for row in index.listing(home) if row["status"] not in ("damaged", "unfinished")]
        return f"it ended with {error}" if begun else ""
    finally:
        logging.disable(logging.NOTSET)
    if run.facts["weights_sha256"] != expected:
        return "other weights"
    if not run.facts["kept"]:
        return ""
    assert run.id is not None
    loaded = steepest.load_run(run.id, home=home)
    return "" if loaded.facts["curve"] == run.facts["curve"] else "another curve in the record"


def full_file_system(folder: Path) -> str | None:
    """Train on a file system that is full, and has room again later; return what went wrong, None where none can be mounted."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False)
    if mounted.returncode:
        return None
    try:
        said: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("steepest").addHandler(handler)
        ballast = folder / "ballast"

        def filled(context: Any) -> Any:
            from steepest.gradient import plain

            filled.calls += 1  # type: ignore[attr-defined]
            if filled.calls == 10:  # type: ignore[attr-defined]
                with contextlib.suppress(OSError), ballast.open("wb") as file:
                    while True:
                        file.write(b"\0" * 4096)
                        file.flush()
            if filled.calls == 40:  # type: ignore[attr-defined]
                ballast.unlink()
            return plain(context)

        filled.calls = 0  # type: ignore[attr-defined]
        run = steepest.fit(
            work.task(), recipe=work.recipe(), gradient=filled, home=folder / "home", checkpoint_every=4, progress=False
        )
        logging.getLogger("steepest").removeHandler(handler)
        told = [line for line in said if "no checkpoint could be written" in line]
        if len(told) != 1:
            return f"told {len(told)} times: {said}"
        if run.facts["checkpoints"]["written"] < 5 or not run.facts["kept"]:
            return "when there was room again, it was not used"
        return ""
    finally:
        subprocess.run(["umount", str(folder)], check=False)


def limited_files(home: Path) -> str:
    """Train where no file may be longer than 20 kB, which the system refuses by itself; return what went wrong."""

    def child(pipe: int) -> None:
        torch.set_num_threads(1)
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        run = steepest.fit(work.task(), recipe=work.recipe(), home=home, checkpoint_every=4, progress=False)
        os.write(pipe, json.dumps([run.facts["weights_sha256"], run.facts["kept"], run.facts["checkpoints"]]).encode())

    from .kills import forked

    made = forked(child)
    told = b""
    while piece := os.read(made.pipe, 4096):
        told += piece
    os.close(made.pipe)
    os.waitpid(made.process, 0)
    if not told:
        return f"it did not end well: {made.last_words()}"
    made.said.close()
    _, kept, checkpoints = json.loads(told)
    return "" if not kept and checkpoints["written"] == 0 else f"kept {kept}, {checkpoints}"


def _append(home: str, shared: str, number: int, rows: int) -> None:
    own = records.create("run", home)
    common = Record("run", Path(shared).name, Path(shared))
    own.append("start", task=f"writer {number}")
    for row in range(rows):
        own.append("evaluation", row=row, text="x" * (row % 300))
        common.append("evaluation", writer=number, row=row, text="y" * (row % 9000))
        if row % 100 == 0:
            index.listing(home)
    own.append("end", status="finished", rows=rows)


def many_writers(home: Path, writers: int = 16, rows: int = 500) -> str:
    """Have many processes write records of their own, and one together, and list them meanwhile; return what went wrong."""
    shared = records.create("run", home)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(str(home), str(shared.folder), i, rows)) for i in range(writers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        return f"exit codes {[process.exitcode for process in processes]}"
    seen = sorted((event["writer"], event["row"]) for event in shared.events())
    if seen != [(writer, row) for writer in range(writers) for row in range(rows)]:
        return f"the common record holds {len(seen)} lines of {writers * rows}"
    listed = [row for row in index.listing(home) if row["status"] == "finished"]
    if len(listed) != writers or index.rebuild(home) != writers + 1:
        return f"the index lists {len(listed)} of {writers}"
    counts = [sum(1 for _ in records.find(row["id"], home).events()) for row in listed]
    return "" if counts == [rows + 2] * writers else f"records hold {counts}"


def torn_everywhere(home: Path, every: int = 1) -> str:
    """Cut a record at every byte, read it, and append to it; return what went wrong."""
    record = records.create("run", home)
    events = [{"event": "start", "n": 1}, {"event": "evaluation", "text": 'ä "\\ \n'}, {"event": "end", "n": 3}]
    for event in events:
        record.append(**event)
    whole = record.path.read_bytes()
    ends = [at + 1 for at in range(len(whole)) if whole[at : at + 1] == b"\n"]
    logging.disable(logging.WARNING)
    try:
        for size in range(0, len(whole) + 1, every):
            record.path.write_bytes(whole[:size])
            complete = sum(end - 1 <= size for end in ends)  # a line whose end alone is missing is whole
            if len(list(record.events())) != complete:
                return f"cut at {size}: {len(list(record.events()))} of {complete} lines"
            record.append("more")
            found = [event["event"] for event in record.events()]
            if found != [event["event"] for event in events[:complete]] + ["more"]:
                return f"cut at {size}, then appended to: {found}"
    finally:
        logging.disable(logging.NOTSET)
    return ""
