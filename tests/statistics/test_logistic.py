"""The logistic regression against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from elsewhere.statistics.logistic import fit_logistic


@pytest.mark.parametrize("ridge", [0.1, 1.0, 30.0])
def test_equals_scikit_learn(ridge):
    random = np.random.default_rng(0)
    features = random.normal(size=(200, 4))
    labels = (random.random(200) < 1 / (1 + np.exp(-features[:, 0] + 0.7))).astype(float)
    found = fit_logistic(features, labels, ridge)
    plain = LogisticRegression(C=1 / ridge, tol=1e-12, max_iter=10_000).fit(features, labels)
    assert found == pytest.approx([plain.intercept_[0], *plain.coef_[0]], abs=1e-6)


def test_no_column_gives_the_log_odds():
    assert fit_logistic(np.empty((4, 0)), np.array([1.0, 0, 0, 0])) == pytest.approx([np.log(1 / 3)])


def test_separated_classes_need_a_ridge():
    features, labels = np.array([[-2.0], [-1], [1], [2]]), np.array([0.0, 0, 1, 1])
    with pytest.raises(ValueError, match="does not converge"):
        fit_logistic(features, labels)
    assert np.isfinite(fit_logistic(features, labels, ridge=0.1)).all()


def test_far_away_start_does_not_overshoot():
    features = np.array([[0.0]] * 500 + [[40.0]] * 3)
    labels = np.array([0.0] * 499 + [1.0] + [1.0, 1.0, 0.0])
    assert np.isfinite(fit_logistic(features, labels, ridge=1e-3)).all()
