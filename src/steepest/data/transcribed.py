"""Recordings with what is said in them: the characters of each text as numbers, and folders that hold both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, shown, unknown
from ..transcripts import BLANK, frames_needed
from .cleaning import CleaningReport
from .core import Data
from .inputs import Sounds
from .reading import RawTable, read_frame
from .sounds import ANSWERED_S, FRAME_S, frame_counts
from .splitting import deal_with_test
from .targets import Targets
from .waves import WAVES

FILES = ("transcripts.csv", "transcripts.tsv")
COLUMNS = ("file", "text")


def spelled(texts: Sequence[str], classes: Sequence[str]) -> Targets:
    """Return texts as the numbers of their characters among the classes, of which the first is the blank.

    >>> found = spelled(["ab", "bac"], ("", "a", "b"))
    >>> found.values.tolist(), found.strange, found.texts
    ([[1, 2, 0], [2, 1, -1]], 'c', ['ab', 'bac'])
    """
    strange = "".join(sorted(set().union(*texts) - set(classes)))
    numbers = {character: code for code, character in enumerate(classes)}
    numbers |= {character: -1 - place for place, character in enumerate(strange)}
    values = np.zeros((len(texts), max(map(len, texts), default=1)), dtype=np.int64)
    for row, text in enumerate(texts):
        values[row, : len(text)] = [numbers[character] for character in text]
    return Targets("transcription", values, tuple(classes), strange)


def transcribed(
    sounds: Sounds,
    texts: Sequence[str | None],
    *,
    source: str,
    name: str,
    report: CleaningReport,
    parts: tuple[float, ...],
    seed: int,
    tested: np.ndarray,
    on_bad_row: str = "stop",
    places: Sequence[str] | None = None,
) -> Data:
    """Make Data of recordings and what is said in them; its characters are those of the training part.

    Args:
        sounds: the recordings.
        texts: what is said in each; None where nobody wrote it down.
        source: what complaints name.
        name: what records call the data.
        report: takes what is left out, and the characters that training lacks.
        parts: shares of train, validation, test and certificate.
        seed: how recordings are dealt out.
        tested: which of them are the test part, shape (rows,).
        on_bad_row: `"stop"` at a recording without a text, or with more of it than its frames can hold, or `"skip"` it.
        places: what complaints call each; None: `recording 0` and so on.
    """
    sounds = replace(sounds, each_step=True)
    said = [(text or "").strip() for text in texts]
    wrong = [_wrong_text(text, frames) for text, frames in zip(said, frame_counts(sounds).tolist(), strict=True)]
    bad = [row for row, why in enumerate(wrong) if why]
    if bad and on_bad_row == "stop":
        place = places[bad[0]] if places is not None else f"recording {bad[0]}"
        raise InputError(f"{source}, {place}: {wrong[bad[0]]}; correct or remove it, or add --on-bad-row skip")
    report.add("recordings without a text that fits", len(bad), f"left out (first: {wrong[bad[0]] if bad else ''})")
    kept = np.setdiff1d(np.arange(len(said)), bad)
    if not len(kept):
        raise InputError(f"{source}: no recording with a transcript is left to learn from")
    said = [said[row] for row in kept]
    dealt = deal_with_test(spelled(said, (BLANK,)), parts, seed, source, tested[kept])
    alphabet = set().union(*(said[row] for row in dealt["train"]))
    targets = spelled(said, (BLANK, *sorted(alphabet)))
    held_out = sum(character not in alphabet for text in said for character in text)
    report.add(f"characters that the training part lacks ({targets.strange})", held_out, "kept: each will count as an error")
    return Data(name, sounds.take(kept), targets, dealt, report, test_given=bool(tested.any()))


def _wrong_text(text: str, frames: int) -> str | None:
    """Return why a text cannot be that of so many frames, if so."""
    if not text:
        return "the text is empty"
    if (needed := frames_needed(text)) <= frames:
        return None
    return (
        f"{shown(text)} cannot be said in {FRAME_S + (frames - 1) * ANSWERED_S:.2f} s: its {len(text)} characters need "
        f"{needed} frames, one each and one between equal neighbours, and there are {frames}"
    )


def transcripts_of(folder: Path) -> Path | None:
    """Return the file of a folder that says what is said in its recordings, if there is one."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


def read_transcripts(path: Path, report: CleaningReport, on_bad_row: str) -> tuple[RawTable, list[Path]]:
    """Return the rows of a file of transcripts, and where the recording of each lies; recordings must be there, and
    have a row.
    """
    raw = read_frame(path, on_bad_row=on_bad_row)
    for note in raw.notes:
        report.note(note)
    for name in COLUMNS:
        if name not in raw.frame.columns:
            raise InputError(f"{path}: {unknown('column', name, raw.frame.columns)}; expected two columns, file and text")
    files = [path.parent / name if name else None for name in raw.frame["file"].str.strip_chars().fill_null("")]
    seen: set[Path] = set()
    problems: list[str] = []
    keep = []
    for row, file in enumerate(files):
        wrong = _wrong_file(file, seen)
        if wrong:
            problems.append(f"{raw.place(row)}: {wrong}")
        else:
            assert file is not None
            seen.add(file.resolve())
            keep.append(row)
    lacking = [file for file in WAVES.files_in(path.parent) if file.resolve() not in seen]
    _settle(path, problems, "rows without a recording of their own", report, on_bad_row)
    told = [f"{file.relative_to(path.parent)} has no row" for file in lacking]
    _settle(path, told, "recordings without a row", report, on_bad_row)
    if not keep:
        raise InputError(f"{path}: no row names a recording that is there")
    return raw.take(np.array(keep)), [file for row in keep if (file := files[row]) is not None]


def _wrong_file(file: Path | None, seen: Iterable[Path]) -> str | None:
    if file is None:
        return "no file is named"
    if not file.is_file():
        return f"no such file: {file}"
    return f"{file} has another row before" if file.resolve() in seen else None


def _settle(path: Path, problems: list[str], what: str, report: CleaningReport, on_bad_row: str) -> None:
    """Stop at the first problem, or count them as left out."""
    if problems and on_bad_row == "stop":
        raise InputError(f"{path}, {problems[0]}; correct it, or add --on-bad-row skip")
    report.add(what, len(problems), f"left out (first: {problems[0] if problems else ''})")
