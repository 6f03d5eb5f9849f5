"""Ingredients of a recipe: what it could be without, found in the text that it prints as, and taken out of it again.

A recipe is rule, batch and epochs, and what was added: a schedule, weight decay, clipping, augmentations, dropout. Each of
these stands in its text as an argument, a link of a chain or an augmentation, and is named by that very text. What a rule does
by default and does not print, such as AdamW's decay of 0.01, stays.
"""

from __future__ import annotations

import ast
from collections.abc import Collection

from ..errors import InputError, listed, nearest
from ..recipes import Recipe, read

# Arguments that are ingredients, and what stands for them where they are taken out.
NEUTRAL = {
    "schedule": "constant()",
    "weight_decay": "0.0",
    "label_smoothing": "0.0",
    "class_weights": "None",
    "l1": "0.0",
    "l2": "0.0",
    "dropout": "0.0",
    "norm": "None",
    "stochastic_depth": "0.0",
    "whiten": "False",
    "views": "1",
    "rank": "None",
    "shared": "False",
    "waves": "0",
    "plateau": "None",
    "gradient": "None",
}
# Links that a chain can do without: the step itself is made by another.
LINKS = (
    "add_noise", "adaptive_clip", "centralize_gradients", "clamp_weights", "clip_global_norm", "clip_value", "compensated",
    "decay_weights", "ema_weights", "lookahead", "proximal_l1", "reduce_variance", "scale_by_trust_ratio",
    "stochastic_rounding",
)  # fmt: skip


def ingredients(recipe: Recipe) -> list[str]:
    """Return what a recipe could be without, each named by its text, in the order in which it prints them.

    >>> ingredients(read("Recipe(adamw(0.003, weight_decay=0.1, schedule=cosine()), augment=(flip(), shift(2)))"))
    ['weight_decay=0.1', 'schedule=cosine()', 'flip()', 'shift(2)']
    """
    found: dict[str, None] = {}
    for node in ast.walk(_tree(recipe)):
        if isinstance(node, ast.Call):
            found |= dict.fromkeys(_of_call(node))
    text = repr(recipe)
    return sorted(found, key=text.find)


def without(recipe: Recipe, names: Collection[str]) -> Recipe:
    """Return a recipe without some of its ingredients, wherever they stand in it.

    >>> without(read("Recipe(chain(clip_global_norm(1.0), sgd(0.1, schedule=cosine())), batch=64)"), ["schedule=cosine()"])
    Recipe(chain(clip_global_norm(1.0), sgd(0.1)), batch=64)

    Raises:
        InputError: it has no such ingredient.
    """
    known = ingredients(recipe)
    for name in names:
        if name not in known:
            close = nearest(name, known)
            raise InputError(
                f"the recipe has no ingredient {name!r}" + (f"; did you mean {close!r}?" if close else f" ({listed(known)})")
            )
    tree = _Taking(names).visit(_tree(recipe))
    return read(ast.unparse(ast.fix_missing_locations(tree)))


def _tree(recipe: Recipe) -> ast.expr:
    text = repr(recipe)
    try:
        read(text)
    except InputError as error:
        raise InputError(f"only a recipe that can be read back from its text can be taken apart: {error}") from None
    return ast.parse(text, mode="eval").body


def _of_call(node: ast.Call) -> list[str]:
    """Return the ingredients that stand in one call."""
    found = [_word(word) for word in node.keywords if _is_ingredient(word)]
    if _name(node) == "chain":
        found += [ast.unparse(link) for link in node.args if _name(link) in LINKS]
    for word in node.keywords:
        if word.arg == "augment" and isinstance(word.value, ast.Tuple):
            found += [ast.unparse(item) for item in word.value.elts]
    return found


def _is_ingredient(word: ast.keyword) -> bool:
    """Return whether an argument is one, and is not what stands for it where it is taken out."""
    if word.arg not in NEUTRAL:
        return False
    value, neutral = word.value, ast.parse(NEUTRAL[word.arg], mode="eval").body
    if isinstance(value, ast.Constant) and isinstance(neutral, ast.Constant):
        return value.value != neutral.value
    return ast.unparse(value) != ast.unparse(neutral)


def _word(word: ast.keyword) -> str:
    return f"{word.arg}={ast.unparse(word.value)}"


def _name(node: ast.expr) -> str:
    return node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""


class _Taking(ast.NodeTransformer):
    """Takes ingredients out of the tree of a recipe's text."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = names

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _name(node) == "chain":
            node.args = [link for link in node.args if ast.unparse(link) not in self.names]
        for word in node.keywords:
            if word.arg == "augment" and isinstance(word.value, ast.Tuple):
                word.value.elts = [item for item in word.value.elts if ast.unparse(item) not in self.names]
            elif word.arg in NEUTRAL and _word(word) in self.names:
                word.value = ast.parse(NEUTRAL[word.arg], mode="eval").body
        return self.generic_visit(node)
