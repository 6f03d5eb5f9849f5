"""Numbers as people write them: with a decimal comma, thousands set apart, a currency or a percent sign; found, and read.

A notation is kept as an example of it, such as `1.234,5 €`.
"""

from __future__ import annotations

import re

import numpy as np

from ..later import pl

COMMA, POINT = "1.234,5", "1,234.5"
LAYOUTS = (POINT, COMMA, "1 234,5", "1 234.5", "1'234.5")
SIGN = r"\p{Sc}|%|\b(?:USD|EUR|GBP|CHF|JPY)\b"
MOSTLY = 0.9  # of the cells: then the rest are mistakes
SAMPLE = 2_000  # cells that clear most columns of text


def number_notation(cells: pl.Series, delimiter: str = "") -> str:
    """Return the notation that most cells of a column of text have, or nothing: where they are plain numbers, or none.

    Where a comma may be both (all cells are like `1,234`) it is a decimal comma in a file separated by `;`, elsewhere one of
    thousands, unless cells of four digits stand beside without it.

    >>> number_notation(pl.Series(["1.234,56 €", "16,88 €"])), number_notation(pl.Series(["1,234", "999"]))
    ('1.234,5 €', '1,234.5')
    """
    present = _plainly_spaced(cells.drop_nulls()) if cells.dtype == pl.String else cells[:0]
    sample = present[:: max(1, len(present) // SAMPLE)]
    if not len(present) or not _best(sample, delimiter) or not (found := _best(present, delimiter)):
        return ""
    varied = present.str.count_matches(r"\d").n_unique() > 1 or present.str.contains(r"[.,]").any()
    return found if varied or found[1] in ",." else ""  # "555 123 456" throughout: no thousands, but a number to call


def _best(cells: pl.Series, delimiter: str) -> str:
    """Return the notation that reads the most cells, if those are nearly all, and more than are plain numbers."""
    signs = cells.str.extract(f"({SIGN})").drop_nulls().unique().to_list()
    if len(signs) > 1:
        return ""
    layouts = (COMMA, *LAYOUTS) if delimiter == ";" or cells.str.contains(r"(?:^|\D)\d{4,}(?:,\d+)?\D*$").any() else LAYOUTS
    counts = {_signed(layout, *signs): 0 for layout in layouts}
    for notation in counts:
        counts[notation] = int(cells.str.contains(_expression(notation)).sum())
    best = max(counts, key=counts.__getitem__)
    plain = len(cells) - cells.cast(pl.Float64, strict=False).null_count()
    return best if counts[best] >= MOSTLY * len(cells) and counts[best] > plain else ""


def _signed(layout: str, sign: str = "") -> str:
    if sign in ("", "%"):
        return layout + sign
    return f"{layout} {sign}" if layout[-2] == "," else f"{sign}{layout}"


def _parts(notation: str) -> tuple[str, str, str]:
    """Return what sets thousands apart, what comes before decimals, and the sign."""
    layout = next(layout for layout in LAYOUTS if layout in notation)
    return layout[1], layout[-2], notation.replace(layout, "").strip()


def _expression(notation: str) -> str:
    """Return the regular expression of a cell in a notation; a percent sign must be there, any other may."""
    thousands, decimal, sign = (re.escape(part) for part in _parts(notation))
    number = rf"(?:\d+|[1-9]\d{{0,2}}(?:{thousands}\d{{3}})+)(?:{decimal}\d*)?|{decimal}\d+"
    before, after = ("", r" ?%") if sign == "%" else (f"(?:{sign} ?)?", f"(?: ?{sign})?") if sign else ("", "")
    return rf"^[-+]?{before}[-+]?(?:{number}){after}$"


def _plainly_spaced(cells: pl.Series) -> pl.Series:
    return cells.str.replace_all("[\u00a0\u2009\u202f]", " ").str.replace_all("’", "'", literal=True)


def as_numbers(cells: pl.Series, notation: str) -> pl.Series:
    """Return text in a notation as numbers, null where a cell holds none; a percentage is the number before its sign.

    >>> as_numbers(pl.Series(["-1.234,56 €", "16,88", "a few"]), "1.234,5 €").to_list()
    [-1234.56, 16.88, None]
    """
    thousands, decimal, sign = _parts(notation)
    spaced = _plainly_spaced(cells)
    bare = spaced.str.replace_all(sign, "", literal=True) if sign else spaced
    bare = (
        bare.str.replace_all(thousands, "", literal=True)
        .str.replace_all("[ +]", "")
        .str.replace_all(decimal, ".", literal=True)
    )
    return bare.set((~spaced.str.contains(_expression(notation))).fill_null(True), None).cast(pl.Float64, strict=False)


def told(cells: pl.Series, notation: str) -> tuple[str, str]:
    """Return what a report says of a column: what its cells are, and how one that shows it was read."""
    thousands, decimal, sign = _parts(notation)
    values, spaced = as_numbers(cells, notation), _plainly_spaced(cells)
    shows = spaced.str.count_matches(f"[{re.escape(thousands + decimal)}]").fill_null(0)
    at = int(np.argmax(np.where(values.is_not_null().to_numpy(), shows.cast(pl.Int64).to_numpy(), -1)))
    with_comma = decimal == "," and spaced.str.contains(r",\d").any()
    grouped = spaced.str.contains(rf"\d{re.escape(thousands)}\d{{3}}").any()
    kinds = {"a decimal comma": with_comma, "thousands set apart": grouped, f"the sign {sign}": sign != ""}
    what = " and ".join(kind for kind, there in kinds.items() if there)
    return f"numbers with {what}", f"read as numbers: {spaced[at]!r} is {values[at]:.15g}"
