"""Simple models that stand beside ours in a table: what they reach says what a number is worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl


def words(train: Path, test: Path) -> dict[str, float]:
    """Return the test accuracy of logistic regression over tf-idf of words, of files of `label text` lines.

    Words or also pairs of them, and the penalty, are chosen over five folds of the training file.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True), LogisticRegression(max_iter=1000))
    grid = {"tfidfvectorizer__ngram_range": [(1, 1), (1, 2)], "logisticregression__C": [1, 3, 10, 30, 100]}
    model = GridSearchCV(pipeline, grid, cv=5).fit(*reversed(_labelled(train)))
    labels, texts = _labelled(test)
    return {"tf-idf + logistic regression": float(model.score(texts, labels))}


def _labelled(path: Path) -> tuple[list[str], list[str]]:
    lines = [line.split(" ", 1) for line in path.read_bytes().decode("latin-1").split("\n") if line.strip()]
    return [label for label, _ in lines], [text for _, text in lines]


def _standardised(path: Path, column: str, train: float = 0.6) -> np.ndarray:
    values = pl.read_csv(path)[column].to_numpy()
    seen = values[: round(train * len(values))]
    return (values - seen.mean()) / seen.std()


def variance(path: Path, column: str, train: float = 0.6) -> float:
    """Return the variance of the first share of a series: what its errors are divided by to be compared."""
    values = pl.read_csv(path)[column].to_numpy()
    return float(values[: round(train * len(values))].var())


def forecasts(path: Path, column: str, window: int, horizon: int, test: float = 0.2) -> dict[str, float]:
    """Return the mean squared error, standardised, of the last value and of ridge regression on the same windows."""
    from sklearn.linear_model import Ridge

    values = _standardised(path, column)
    windows = np.lib.stride_tricks.sliding_window_view(values, window + horizon)
    seen, ahead = windows[:, :window], windows[:, window:]
    cut, last = round(0.6 * len(values)) - window - horizon + 1, round((1 - test) * len(values)) - window
    ridge = Ridge(alpha=1.0).fit(seen[:cut], ahead[:cut])
    errors = {"last value": ahead[last:] - seen[last:, -1:], "ridge": ahead[last:] - ridge.predict(seen[last:])}
    return {name: float(np.square(error).mean()) for name, error in errors.items()}
