"""scikit-learn estimators: steepest's training behind `fit` and `predict`, for pipelines and grid searches."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from .data.core import Data
from .data.splitting import PARTS, split_rows
from .data.tables import number_table
from .data.targets import Targets
from .errors import InputError
from .models import ModelSpec
from .objectives import Objective
from .recipes import Recipe, as_recipe, named
from .rules import Rule, adamw
from .schedules import cosine
from .tasks import Task
from .training.fitting import fit
from .training.run import Run

DEFAULT = Recipe(adamw(0.003, weight_decay=0.01, schedule=cosine()), batch=32, epochs=100)


class _SteepestEstimator(BaseEstimator):
    """What classifier and regressor share: all rows are trained on, unless `validation` holds some out."""

    def __init__(
        self,
        recipe: Recipe | Rule | str | None = None,
        *,
        model: ModelSpec | Any = None,
        objective: Objective | Any = None,
        epochs: float | None = None,
        batch: int | str | None = None,
        patience: int | None = None,
        validation: float = 0.0,
        random_state: int | np.random.RandomState | None = None,
        device: str | None = None,
    ) -> None:
        self.recipe = recipe
        self.model = model
        self.objective = objective
        self.epochs = epochs
        self.batch = batch
        self.patience = patience
        self.validation = validation
        self.random_state = random_state
        self.device = device

    def _train(self, X: np.ndarray, targets: Targets) -> Self:
        recipe = (as_recipe(self.recipe) or DEFAULT).filled(DEFAULT)
        recipe = named(recipe, epochs=self.epochs, batch=self.batch, patience=self.patience)
        if len(X) < 2:
            raise InputError("got n_samples=1; training needs at least 2 rows")
        if not 0 <= self.validation < 1:
            raise InputError(f"validation must be a share in [0, 1) (got {self.validation!r})")
        if recipe.patience and not self.validation:
            raise InputError("patience needs rows to watch: give validation=0.1 or so")
        shares = (1 - self.validation, self.validation, 0.0, 0.0) if self.validation else (1.0,)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        dealt = split_rows(np.arange(len(X)), targets.values if targets.classes else None, shares, seed)
        rows = {name: dealt[i] if i < len(dealt) else np.empty(0, dtype=np.int64) for i, name in enumerate(PARTS)}
        data = Data(type(self).__name__, number_table(X), targets, rows)
        task = Task(data, model=self.model, objective=self.objective)
        self.run_: Run = fit(task, recipe=recipe, seed=seed, device=self.device, record=False, progress=False)
        # in float64, so that a prediction does not depend on which rows are predicted together
        self._predictor = replace(self.run_, model=copy.deepcopy(self.run_.model).double())
        self.n_iter_ = self.run_.facts["steps"]
        return self

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "run_")
        return validate_data(self, X, reset=False, dtype=np.float64, ensure_all_finite=True)


class SteepestClassifier(ClassifierMixin, _SteepestEstimator):
    """A neural network classifier with scikit-learn's interface.

    Args:
        recipe: how to learn (a `Recipe`, a rule, or its text, such as `"adamw(0.003)"`); None: AdamW with a cosine schedule.
        model: the network: a value such as `mlp((64, 64))` or its text, a function that returns an `nn.Module`, or a module, of
            which every fit trains a copy; None: an MLP that suits the number of rows.
        objective: such as `cross_entropy(label_smoothing=0.1)`, its text, or a function; None: chosen by the classes.
        epochs: passes over the rows, in place of the recipe's.
        batch: rows a step, or `"full"`, in place of the recipe's.
        patience: stop after this many epochs without a better validation loss; needs `validation`.
        validation: share of rows held out to watch, in [0, 1).
        random_state: initial weights, order of batches and rows held out; None: different ones at each fit.
        device: where; None: CUDA when there is one.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> SteepestClassifier(random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X, shape (rows, features), with class labels y."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class ({self.classes_[0]!r}); a classifier needs at least 2 classes")
        return self._train(X, Targets("classification", codes.astype(np.int64), tuple(range(len(self.classes_)))))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row."""
        chosen = self.predict_proba(X).argmax(axis=1)
        return self.classes_[chosen]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, in the order of `classes_`, shape (rows, classes)."""
        rows = self._rows(X)
        return self._predictor.predict_proba(rows)


class SteepestRegressor(RegressorMixin, _SteepestEstimator):
    """A neural network regressor with scikit-learn's interface; the arguments are those of `SteepestClassifier`.

    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> SteepestRegressor(random_state=0).fit(X, y).score(X, y) > 0.4
    True
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows X, shape (rows, features), with numbers y, shape (rows,) or (rows, targets)."""
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        y = column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y
        return self._train(X, Targets("regression", np.asarray(y, dtype=np.float64)))

    def predict(self, X: Any) -> np.ndarray:
        """Return the predicted number (or numbers) of each row."""
        rows = self._rows(X)
        return self._predictor.predict(rows)
