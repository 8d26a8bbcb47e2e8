"""The area under the ROC curve on resamples, against scikit-learn's."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose
from sklearn.metrics import roc_auc_score

from benchmarks.moments import weigh_auc


def test_resamples_score_as_scikit_learn_scores_them() -> None:
    rng = np.random.default_rng(3)
    y = rng.integers(0, 2, 60).astype(float)
    p = np.round(rng.random(60) + 0.3 * y, 1)  # with ties
    weights = rng.integers(0, 3, (40, 60))
    expected = [roc_auc_score(y, p, sample_weight=w) for w in weights]
    assert_allclose(weigh_auc(y, p, weights), expected, rtol=1e-12)


def test_what_was_not_asked_does_not_count() -> None:
    y, p = np.array([0, 1, np.nan, 1, 0]), np.array([0.1, 0.4, 0.2, np.nan, 0.4])
    # of the pairs (0.4, 0.1) and (0.4, 0.4), one is right and one is a tie
    assert_allclose(weigh_auc(y, p, np.ones((1, 5))), [0.75])


def test_one_class_alone_has_no_area() -> None:
    assert np.isnan(weigh_auc(np.ones(3), np.arange(3.0), np.ones((2, 3)))).all()
