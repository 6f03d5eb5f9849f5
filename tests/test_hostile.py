"""Hostile and damaged files: the short forms of `python -m tests.faults`, and what damaging at random has found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import steepest
from steepest.data.archives import read_archive
from tests.faults import fuzz, hostile


@pytest.mark.parametrize("attack", hostile.REFUSED, ids=lambda attack: attack.__name__)
def test_an_attack_is_refused_in_one_line(attack: Callable[[Path], list[str]], tmp_path: Path) -> None:
    assert hostile.refused(attack, tmp_path / "here") == ""


@pytest.mark.parametrize("attack", hostile.BOMBS, ids=lambda attack: attack.__name__)
def test_a_bomb_is_refused_before_it_fills_the_memory(attack: Callable[[Path], list[str]], tmp_path: Path) -> None:
    wrong, _ = hostile.bomb(attack, tmp_path / "here")
    assert wrong == ""


def test_what_a_table_says_is_text_in_its_report(tmp_path: Path) -> None:
    assert hostile.text_in_pages(tmp_path / "here") == ""


def test_an_archive_that_calls_itself_encrypted(tmp_path: Path) -> None:
    """Found by damaging at random: one bit of the directory."""
    np.savez(tmp_path / "t.npz", X=np.arange(24.0).reshape(6, 4), y=np.arange(6))
    content = bytearray((tmp_path / "t.npz").read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(steepest.InputError, match=r"is not a readable npz archive .*encrypted"):
        read_archive(tmp_path / "t.npz")


def test_files_damaged_at_random_are_read_or_refused(tmp_path: Path) -> None:
    for target in fuzz.fuzz(tmp_path, seconds=3.0):
        assert target.tries > 10
        assert not target.found, (target.name, target.found[0])
