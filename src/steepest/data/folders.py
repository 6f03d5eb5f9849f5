"""Folders of images: a folder a class with images in it, or folders train, test and validation of such folders."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InputError
from .cleaning import CleaningReport
from .core import Data
from .inputs import Images
from .pictures import SUFFIXES, decode
from .splitting import deal_around
from .targets import check_taught, encode

PART_NAMES = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation", "valid": "validation",
    "validation": "validation",
}  # fmt: skip
UNSEEN = ("__MACOSX",)  # and what begins with a dot: what systems leave behind


@dataclass
class Found:
    """Images and their classes, and what lies beside them."""

    files: list[Path] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    empty: list[Path] = field(default_factory=list)  # folders without an image
    strangers: int = 0  # files that are no images
    deeper: int = 0  # folders inside folders of classes


def holds_pictures(path: Path) -> bool:
    """Return whether a folder has images in the folders of classes inside it, or inside its train folder."""
    found = _folders(path)
    inner = [folder for part in found if PART_NAMES.get(part.name.lower()) == "train" for folder in _folders(part)]
    return any(_has_picture(folder) for folder in (*found, *inner))


def read_folder(
    path: Path, *, size: object, on_bad_row: str, scaling: str, kind: str | None, parts: tuple[float, ...], seed: int, name: str
) -> Data:
    """Read a folder of classes; folders test and validation beside train are those parts."""
    report = CleaningReport()
    found = {part: _listed(folders) for part, folders in _parts(path, report).items()}
    files = [file for one in found.values() for file in one.files]
    _tell(report, list(found.values()))
    values, kept = decode(files, [str(file) for file in files], report, size=size, on_bad_row=on_bad_row)
    labels = np.array([label for one in found.values() for label in one.classes])[kept]
    where = np.repeat(list(found), [len(one.files) for one in found.values()])[kept]
    check_taught(labels, where, str(path))
    if len(classes := set(labels.tolist())) == 1:
        raise InputError(f"{path}: all images are in one folder ({classes.pop()}); expected a folder for each class")
    targets = encode(labels, str(path), "the folder's name", kind or "classification")
    given = {part: np.flatnonzero(where == part) for part in found if part != "train" and (where == part).any()}
    report.rows, report.columns = len(values), int(np.prod(values.shape[1:]))
    dealt = deal_around(targets, parts, seed, name, given)
    return Data(name, Images(values), targets, dealt, report, scaling, test_given="test" in given)


def _parts(path: Path, report: CleaningReport) -> dict[str, list[Path]]:
    """Return the folders of classes of each part; all are of the train part unless there is a train folder of classes."""
    folders = _folders(path)
    named = [folder for folder in folders if folder.name.lower() in PART_NAMES]
    if not any(PART_NAMES[folder.name.lower()] == "train" and not _has_picture(folder) for folder in named):
        return {"train": folders}
    report.add("folders beside train, test and validation", len(folders) - len(named), "left out")
    parts: dict[str, list[Path]] = {"train": []}
    for folder in named:
        parts.setdefault(PART_NAMES[folder.name.lower()], []).extend(_folders(folder))
        loose = sum(_is_picture_name(entry.name) for entry in _entries(folder))
        report.add(f"images in {folder.name} outside a folder of a class", loose, "left out: they have no label")
    return parts


def _listed(folders: Sequence[Path]) -> Found:
    """Return the images of folders of classes, in the order of their names."""
    found = Found()
    for folder in folders:
        before = len(found.files)
        for entry in _entries(folder):
            if _is_folder(entry):
                found.deeper += 1
            elif _is_picture_name(entry.name):
                found.files.append(Path(entry.path))
                found.classes.append(_class_name(folder))
            else:
                found.strangers += 1
        if len(found.files) == before:
            found.empty.append(folder)
    return found


def _tell(report: CleaningReport, found: Sequence[Found]) -> None:
    empty = [folder for one in found for folder in one.empty]
    report.add("folders without an image", len(empty), f"left out (first: {empty[0] if empty else ''})")
    report.add("folders inside a folder of a class", sum(one.deeper for one in found), "left out")
    report.add("files that are no images", sum(one.strangers for one in found), "left out")


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
        seen = [entry for entry in entries if not entry.name.startswith(".") and entry.name not in UNSEEN]
    return sorted(seen, key=lambda entry: entry.name)


@contextmanager
def _scanned(path: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
    try:
        with os.scandir(path) as entries:
            yield entries
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _has_picture(folder: Path) -> bool:
    with _scanned(folder) as entries:
        return any(_is_picture_name(entry.name) and not entry.name.startswith(".") for entry in entries)


def _is_picture_name(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)
