"""The scikit-learn face obeys scikit-learn, and adapts."""

import numpy as np
import pytest
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jointadapt.estimator import AdaptedClassifier


@parametrize_with_checks(
    [AdaptedClassifier(steps=40, bottleneck=32, dropout=0.0, learning_rate=0.1)],
    expected_failed_checks=lambda _: {
        "check_do_not_raise_errors_in_init_or_set_params": "under pytest jaxtyping checks the types of arguments"
    },
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def shifted(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three classes in 16 columns, and the target's rows: the same, turned and moved."""
    generator = np.random.default_rng(seed)
    y = generator.integers(0, 3, 400)
    x = generator.normal(size=(400, 16))
    x[np.arange(400), y] += 4
    turn, _ = np.linalg.qr(np.eye(16) + 0.3 * generator.normal(size=(16, 16)))
    return x, np.array(["healthy", "ill", "unclear"])[y], x @ (turn * np.sign(np.diag(turn))) + 3


def test_target_rows_help():
    x, y, x_t = shifted()
    plain = AdaptedClassifier("jan", steps=300).fit(x, y)
    adapted = AdaptedClassifier("jan", steps=300).fit(x, y, x_t)
    assert adapted.score(x_t, y) > plain.score(x_t, y) + 0.1
    assert set(adapted.predict(x_t)) == {"healthy", "ill", "unclear"}


def test_it_stands_at_the_end_of_a_pipeline():
    x, y, _ = shifted()
    pipeline = make_pipeline(StandardScaler(), AdaptedClassifier(steps=40))
    assert cross_val_score(pipeline, x, y, cv=2).mean() > 0.8


def test_options_reach_the_training():
    x, y, x_t = shifted()
    fitted = AdaptedClassifier(steps=5, options={"estimator": "linear"}).fit(x, y, x_t)
    assert fitted.model_.config.method_options["estimator"] == "linear"
    assert AdaptedClassifier(steps=5, options={"estimator": "linear"}).fit(x, y).model_.config.method == "source-only"


def test_a_target_of_other_columns_is_refused():
    x, y, _ = shifted()
    with pytest.raises(ValueError, match="features"):
        AdaptedClassifier(steps=5).fit(x, y, x[:, :3])
