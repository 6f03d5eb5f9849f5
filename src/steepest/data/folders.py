"""Folders of classes: a folder a class with files of one kind in it, or folders train, test and validation of such folders."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError, reason_of
from .cleaning import CleaningReport
from .splitting import deal_around
from .targets import Targets, check_taught, encode

PART_NAMES = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation", "valid": "validation",
    "validation": "validation",
}  # fmt: skip
UNSEEN = ("__MACOSX",)  # and what begins with a dot: what systems leave behind


@dataclass(frozen=True)
class Sought:
    """What the files of a folder are looked through for."""

    name: str
    suffixes: tuple[str, ...]

    def named(self, name: str) -> bool:
        return name.lower().endswith(self.suffixes)

    def files_in(self, path: Path) -> list[Path]:
        """Return such files of a folder and those inside it, by name."""
        return sorted(file for file in path.rglob("*") if self.named(file.name) and not _unseen(file.name) and file.is_file())


@dataclass(frozen=True)
class Classes:
    """Files in folders of classes: the class of each, and the part it was put in."""

    files: list[Path]
    labels: np.ndarray
    parts: np.ndarray

    def take(self, rows: np.ndarray | Sequence[int]) -> Classes:
        rows = np.asarray(rows, dtype=np.int64)
        return Classes([self.files[row] for row in rows], self.labels[rows], self.parts[rows])

    def deal(
        self, path: Path, shares: tuple[float, ...], seed: int, name: str, kind: str | None = None
    ) -> tuple[Targets, Mapping[str, np.ndarray]]:
        """Return the classes as targets, and the rows of each part: those of folders, the others dealt out."""
        check_taught(self.labels, self.parts, str(path))
        if len(classes := set(self.labels.tolist())) == 1:
            raise InputError(f"{path}: all files are in one folder ({classes.pop()}); expected a folder for each class")
        targets = encode(self.labels, str(path), "the folder's name", kind or "classification")
        given = {str(part): np.flatnonzero(self.parts == part) for part in np.unique(self.parts) if part != "train"}
        return targets, deal_around(targets, shares, seed, name, given)


@dataclass
class Found:
    """Files and their classes, and what lies beside them."""

    files: list[Path] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)  # folders without such a file
    strangers: list[str] = field(default_factory=list)  # files of another kind
    deeper: int = 0  # folders inside folders of classes


def holds(path: Path, sought: Sought) -> bool:
    """Return whether a folder has such files in the folders of classes inside it, or inside its train folder."""
    found = _folders(path)
    inner = [folder for part in found if PART_NAMES.get(part.name.lower()) == "train" for folder in _folders(part)]
    return any(_has(folder, sought) for folder in (*found, *inner))


def classes_of(path: Path, sought: Sought, report: CleaningReport) -> Classes:
    """Return the files of a folder of classes; folders test and validation beside train are those parts."""
    found = {part: _listed(folders, sought) for part, folders in _parts(path, sought, report).items()}
    _tell(report, list(found.values()), sought)
    labels = [label for one in found.values() for label in one.classes]
    where = np.repeat(list(found), [len(one.files) for one in found.values()])
    return Classes([file for one in found.values() for file in one.files], np.array(labels), where)


def _parts(path: Path, sought: Sought, report: CleaningReport) -> dict[str, list[Path]]:
    """Return the folders of classes of each part; all are of the train part unless there is a train folder of classes."""
    folders = _folders(path)
    named = [folder for folder in folders if folder.name.lower() in PART_NAMES]
    if not any(PART_NAMES[folder.name.lower()] == "train" and not _has(folder, sought) for folder in named):
        return {"train": folders}
    report.add("folders beside train, test and validation", len(folders) - len(named), "left out")
    parts: dict[str, list[Path]] = {"train": []}
    for folder in named:
        parts.setdefault(PART_NAMES[folder.name.lower()], []).extend(_folders(folder))
        loose = sum(sought.named(entry.name) for entry in _entries(folder))
        report.add(f"{sought.name}s in {folder.name} outside a folder of a class", loose, "left out: they have no label")
    return parts


def _listed(folders: Sequence[Path], sought: Sought) -> Found:
    """Return the files of folders of classes, in the order of their names."""
    found = Found()
    for folder in folders:
        before = len(found.files)
        for entry in _entries(folder):
            if _is_folder(entry):
                found.deeper += 1
            elif sought.named(entry.name):
                found.files.append(Path(entry.path))
                found.classes.append(_class_name(folder))
            else:
                found.strangers.append(entry.name)
        if len(found.files) == before:
            found.empty.append(folder)
    return found


def _tell(report: CleaningReport, found: Sequence[Found], sought: Sought) -> None:
    empty = [folder for one in found for folder in one.empty]
    others = [name for one in found for name in one.strangers]
    report.add(f"folders without {sought.name}s", len(empty), f"left out (first: {empty[0] if empty else ''})")
    report.add("folders inside a folder of a class", sum(one.deeper for one in found), "left out")
    report.add(f"files that are no {sought.name}s", len(others), f"left out (first: {others[0] if others else ''})")


def _class_name(folder: Path) -> str:
    """Return a folder's name, in the one form of its letters that Unicode calls composed."""
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        raise InputError(f"{os.fsencode(folder)!r}: the name of a class must be UTF-8; rename this folder") from None
    return unicodedata.normalize("NFC", folder.name)


def _folders(path: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(path) if _is_folder(entry)]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _entries(path: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, by name, without what systems leave behind."""
    with _scanned(path) as entries:
        seen = [entry for entry in entries if not _unseen(entry.name)]
    return sorted(seen, key=lambda entry: entry.name)


@contextmanager
def _scanned(path: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(path) as entries:
            yield entries
    except OSError as error:
        raise InputError(f"{path} cannot be read: {reason_of(error)}") from None


def _has(folder: Path, sought: Sought) -> bool:
    with _scanned(folder) as entries:
        return any(sought.named(entry.name) and not _unseen(entry.name) for entry in entries)


def _unseen(name: str) -> bool:
    return name.startswith(".") or name in UNSEEN
