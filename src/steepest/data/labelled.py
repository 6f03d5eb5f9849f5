"""Reading labelled texts: files of `label text` lines, and columns of text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..sources import bare_name
from .cleaning import CleaningReport
from .core import Data
from .inputs import Texts
from .reading import read_text
from .splitting import SHARES, deal
from .targets import Targets, align, encode
from .texts import check_tokens, labelled_lines, nearly_labelled


def read_texts(
    path: str | Path,
    *,
    test: str | Path | None = None,
    tokens: str = "words",
    parts: tuple[float, ...] = SHARES,
    seed: int = 0,
    name: str | None = None,
) -> Data:
    """Read a file of labelled texts: a label and a text on each line, `positive a fine film`.

    Args:
        path: the file; lines end at line feeds alone, and one that is not UTF-8 is read as Latin-1, and said.
        test: a second file, which becomes the test part.
        tokens: `"words"`, or `"bpe"`: the pieces that byte-pair encoding finds in the training part (needs `steepest[text]`).
        parts: shares of train, validation, test and certificate.
        seed: how texts are dealt out.
        name: what records call the data; None: the file's name.
    """
    report = CleaningReport(columns=1)
    labels, found = _lines(path, report)
    name = name or bare_name(path)
    report.rows = len(found)
    targets = encode(np.array(labels), str(path), "label", "classification")
    num_test = 0
    if test is not None:
        more_labels, more = _lines(test, report)
        codes = align(np.array(more_labels), targets.classes or (), str(test), report)
        targets = Targets(targets.kind, np.concatenate([targets.values, codes]), targets.classes)
        found, num_test = found + more, len(more)
    return text_data(found, targets, report, tokens=tokens, parts=parts, seed=seed, name=name, num_test=num_test)


def text_data(
    found: Sequence[Any], targets: Targets, report: CleaningReport, *, tokens: str, parts: tuple[float, ...], seed: int,
    name: str, num_test: int = 0,
) -> Data:  # fmt: skip
    """Return Data of texts and their labels; empty texts are counted."""
    check_tokens(tokens)
    report.add("empty texts", sum(not text.strip() for text in found), "kept, as one unknown word")
    values = np.empty(len(found), dtype=object)
    values[:] = found
    dealt = deal(targets, parts, seed, name, num_test)
    return Data(name, Texts(values, tokens), targets, dealt, report, test_given=num_test > 0)


def _lines(path: str | Path, report: CleaningReport) -> tuple[list[str], list[str]]:
    content, notes = read_text(path)
    for note in notes:
        report.note(f"{Path(path).name}: {note}")
    found = labelled_lines(content, few=False)
    if found is None:
        odd = nearly_labelled(content) or "expected a label and a text on every line, such as 'positive a fine film'"
        raise InputError(f"{path}: {odd}")
    return found
