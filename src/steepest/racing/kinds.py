"""Kinds of recipes: what they have in common when they may share a computation, or when their steps cost the same."""

from __future__ import annotations

from ..recipes import Recipe

Kind = tuple[str, ...]


def shape_of(recipe: Recipe) -> Kind:
    """Return what recipes must have in common to be lanes of one computation."""
    return repr(recipe.model), repr(recipe.objective), repr(recipe.batch), repr(recipe.changes), repr(recipe.gradient)


def kind_of(recipe: Recipe) -> Kind:
    """Return what recipes must have in common for their steps to cost the same, whatever their numbers are."""
    return *shape_of(recipe), *(type(link).__name__ for link in recipe.rule.transforms())
