"""The public face: every name loads, is documented, and says where a method comes from."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import steepest

ROOT = Path(steepest.__file__).parents[2]


@pytest.mark.parametrize("name", steepest.__all__)
def test_every_public_name_is_documented(name: str) -> None:
    value = getattr(steepest, name)
    text = inspect.getdoc(value) or ""
    assert len(text.split("\n")[0]) > 15, f"{name} has no first line"


@pytest.mark.parametrize("name", [n for n in steepest.__all__ if inspect.isfunction(getattr(steepest, n))])
def test_every_public_function_is_annotated(name: str) -> None:
    signature = inspect.signature(getattr(steepest, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(parameter.annotation is not inspect.Parameter.empty for parameter in signature.parameters.values())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = steepest.nonsense  # type: ignore[attr-defined]
    assert "race" in dir(steepest)


def test_logging_is_silent_below_warnings() -> None:
    import logging

    (handler,) = logging.getLogger("steepest").handlers  # prints where nobody has set up logging
    assert handler.level == logging.WARNING


def test_every_docs_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme
