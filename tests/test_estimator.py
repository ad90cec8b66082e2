"""The scikit-learn face obeys scikit-learn, and adapts."""

import pickle
import warnings

import joblib
import numpy as np
import pytest
import torch
from scipy.stats import loguniform, randint
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, RobustScaler, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from jointadapt.config import BASELINE
from jointadapt.errors import UserError
from jointadapt.estimator import AdaptedClassifier, whole
from jointadapt.estimator.scaling import scaled_alone
from jointadapt.experiment import train


@parametrize_with_checks(
    [AdaptedClassifier(steps=20, bottleneck=32, dropout=0.0, learning_rate=0.1)],
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


def quick(**options) -> AdaptedClassifier:
    return AdaptedClassifier(**{"steps": 20, "bottleneck": 16, **options})


# Under the names that others route


def test_moabbs_names_and_ours_are_one():
    x, y, x_t = shifted()
    ours = quick().fit(x, y, x_t).predict_proba(x_t)
    np.testing.assert_array_equal(quick().fit(x, y, X_target_unlabeled=x_t).predict_proba(x_t), ours)
    domains = np.repeat([1, -2], [len(x), len(x_t)])
    y_both = np.concatenate([y, np.full(len(x_t), "hidden")])
    pooled = quick().fit(np.concatenate([x, x_t]), y_both, sample_domain=domains)
    np.testing.assert_array_equal(pooled.predict_proba(x_t), ours)
    assert pooled.classes_.tolist() == ["healthy", "ill", "unclear"]


def test_labelled_target_rows_are_trained_on_in_three_ways():
    x, y, x_t = shifted()
    some = np.where(np.arange(len(y)) < 60, y, None)
    first = quick(steps=200).fit(x, y, x_t, target_labels=some)
    domain_and_labels = train((x, y), x_t, target_labels=some, steps=5, bottleneck=16, report=False)
    assert domain_and_labels.summary.target_labels == 60
    split = quick(steps=200).fit(x, y, x_t[60:], X_target_labeled=x_t[:60], y_target_labeled=y[:60])
    alone = quick(steps=200).fit(x, y, X_target_labeled=x_t[:60], y_target_labeled=y[:60])
    plain = quick(steps=200).fit(x, y, x_t).score(x_t[60:], y[60:])
    for fitted in (first, split, alone):
        assert fitted.score(x_t[60:], y[60:]) > plain


def test_numbers_as_labels_of_the_target():
    x, y, x_t = shifted()
    numbers = np.unique(y, return_inverse=True)[1] * 10.0
    fitted = quick().fit(x, numbers, x_t, target_labels=np.where(np.arange(len(y)) < 9, numbers, np.nan))
    assert fitted.classes_.tolist() == [0, 10, 20]
    assert fitted.model_.classes == ("0", "10", "20")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"X_target": 1, "X_target_unlabeled": 1}, "two names of one thing"),
        ({"X_target": 1, "sample_domain": 1}, "the target stands in X"),
        ({"X_target_labeled": 1}, "belong together"),
        ({"target_labels": [1]}, "labels of X_target"),
        ({"sample_domain": np.zeros(400)}, "with zeros"),
        ({"sample_domain": np.ones(3)}, "one number a row"),
        ({"sample_domain": -np.ones(400)}, "negative numbers alone"),
        ({"X_target_labeled": np.zeros((1, 16)), "y_target_labeled": ["healty"]}, "did you mean 'healthy'"),
    ],
)
def test_contradictions_are_told(arguments, words):
    x, y, _ = shifted()
    with pytest.raises(UserError, match=words):
        quick().fit(x, y, **arguments)


def test_source_rows_alone_in_sample_domain_are_a_plain_fit():
    x, y, _ = shifted()
    assert quick().fit(x, y, sample_domain=np.ones(len(y))).choice_.method == BASELINE


# What a fit leaves


def test_what_a_fit_leaves():
    x, y, x_t = shifted()
    fitted = quick(baseline=True).fit(x, y, x_t)
    assert fitted.choice_ == ("jan", "It was asked for.")
    assert fitted.baseline_.config.method == BASELINE
    assert fitted.diagnosis_.kind == "covariate shift"
    assert fitted.p_value_ == fitted.diagnosis_.p_value < 0.05
    assert fitted.model_.classes == ("healthy", "ill", "unclear")
    plain = quick().fit(x, y)
    assert (plain.diagnosis_, plain.p_value_, plain.baseline_, plain.choice_.method) == (None, None, None, BASELINE)


def test_auto_says_what_it_chose_and_why():
    x, y, x_t = shifted()
    few = quick(method="auto").fit(x, y, x_t[:2])
    assert few.choice_.method == BASELINE
    assert "too few" in few.choice_.reason
    assert few.diagnosis_.kind == "too few examples"
    assert few.baseline_ is not None


def test_clone_pickle_and_joblib(tmp_path):
    x, y, x_t = shifted()
    fitted = quick().fit(x, y, x_t)
    expected = fitted.predict_proba(x_t)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    for again in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "fitted.joblib")):
        np.testing.assert_array_equal(again.predict_proba(x_t), expected)
    np.testing.assert_array_equal(clone(fitted).fit(x, y, x_t).predict_proba(x_t), expected)


def test_names_of_columns_are_kept_and_checked():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    x, y, x_t = shifted()
    names = [f"gene {index}" for index in range(16)]
    frame, target = pandas.DataFrame(x, columns=names), pandas.DataFrame(x_t, columns=names)
    fitted = quick().fit(frame, pandas.Series(y, index=range(500, 900)), target)
    assert fitted.feature_names_in_.tolist() == names
    with pytest.raises(ValueError, match="same order"):
        quick().fit(frame, y, target[names[::-1]])
    with pytest.raises(ValueError, match="gene 15"):
        fitted.predict(target.drop(columns="gene 15"))


# Parameters as searches give them


@pytest.mark.parametrize(
    "parameter",
    [
        {"steps": np.int64(5)},
        {"batch_size": np.int32(20)},
        {"dropout": np.float32(0.25)},
        {"learning_rate": np.float64(0.01)},
        {"random_state": np.int64(3)},
        {"method": np.str_("dan")},
        {"options": {"trade_off": np.float64(0.25)}},
        {"options": {"scales": np.array([0.5, 1, 2])}},
    ],
    ids=str,
)
def test_numpy_values_are_the_values_that_they_hold(parameter):
    x, y, x_t = shifted()
    plain = {name: value.tolist() if name != "options" else value for name, value in parameter.items()}
    if "options" in plain:
        plain["options"] = {name: value.tolist() for name, value in plain["options"].items()}
    fitted, expected = (quick(**{"steps": 5, **some}).fit(x, y, x_t) for some in (parameter, plain))
    assert fitted.model_.config.numbers() == expected.model_.config.numbers()
    np.testing.assert_array_equal(fitted.predict_proba(x_t), expected.predict_proba(x_t))


def test_a_random_state_is_drawn_from():
    x, y, x_t = shifted()
    first, again = (quick(random_state=np.random.RandomState(0)).fit(x, y, x_t) for _ in range(2))
    np.testing.assert_array_equal(first.predict_proba(x_t), again.predict_proba(x_t))
    assert first.random_state.randint(100) == again.random_state.randint(100)
    second = quick(random_state=first.random_state).fit(x, y, x_t)
    assert second.model_.config.seed != first.model_.config.seed
    seeds = {quick(steps=1, random_state=None).fit(x, y).model_.config.seed for _ in range(2)}
    assert len(seeds) == 2


@pytest.mark.parametrize(
    ("name", "words"), [("steps", "steps="), ("seed", "random_state="), ("report", "nothing is written")]
)
def test_an_option_given_twice_is_refused(name, words):
    x, y, _ = shifted()
    with pytest.raises(UserError, match=words):
        quick(options={name: 3}).fit(x, y)


def test_searches_over_numpy_ranges():
    x, y, x_t = shifted()
    x, y, x_t = x[:60], y[:60], x_t[:60]
    grid = GridSearchCV(quick(), {"steps": np.arange(5, 15, 5)}, cv=2).fit(x, y, X_target=whole(x_t))
    assert grid.best_params_["steps"] in (5, 10)
    drawn = {"steps": randint(5, 10), "learning_rate": loguniform(1e-3, 1e-1)}
    RandomizedSearchCV(quick(), drawn, n_iter=1, cv=2, random_state=0).fit(x, y, X_target=whole(x_t))


# Pipelines, searches, and the target's way through them


class SeesTarget(AdaptedClassifier):
    """Keeps how many target rows a fit was handed, and their means."""

    def fit(self, X, y, X_target=None):
        self.seen_, self.mean_ = len(np.asarray(X_target)), np.asarray(X_target).mean()
        return super().fit(X, y, X_target)


def seen_by(fitted, x, y):  # noqa: ARG001
    return fitted.seen_


@pytest.mark.parametrize("rows", [60, 40])
def test_a_search_hands_the_target_on_whole(rows):
    x, y, x_t = shifted()
    x, y, target = x[:60], y[:60], whole(x_t[:rows])
    classifier = SeesTarget(steps=3)
    search = GridSearchCV(classifier, {"dropout": [0.0]}, cv=2, refit=True).fit(x, y, X_target=target)
    assert search.best_estimator_.seen_ == rows
    scores = cross_val_score(classifier, x, y, params={"X_target": target}, cv=2, scoring=seen_by)
    assert scores.tolist() == [rows, rows]


def test_a_pipeline_scales_the_target_as_the_source():
    x, y, x_t = shifted()
    scale = np.logspace(-2, 3, 16)
    x, x_t = 100 * scale + x * scale, 100 * scale + x_t * scale
    with config_context(enable_metadata_routing=True):
        steps = [("scale", StandardScaler()), ("fit", SeesTarget(steps=300).set_fit_request(X_target=True))]
        pipeline = Pipeline(steps, transform_input=["X_target"])
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pipeline.fit(x, y, X_target=x_t)
        assert pipeline["fit"].mean_ == pytest.approx(pipeline["scale"].transform(x_t).mean())
        assert pipeline.score(x_t, y) > 0.5
        search = GridSearchCV(pipeline, {"fit__steps": [3]}, cv=2).fit(x, y, X_target=whole(x_t))
        assert search.best_estimator_["fit"].seen_ == len(x_t)


SCALERS = [StandardScaler(), MinMaxScaler(), MaxAbsScaler(), RobustScaler(), Normalizer()]


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda scaler: type(scaler).__name__)
def test_a_target_that_only_the_source_is_scaled_beside_is_noticed(scaler):
    x, y, x_t = shifted()
    x, x_t = 100 + 30 * x, 100 + 30 * x_t
    pipeline = make_pipeline(scaler, quick())
    with pytest.warns(UserWarning, match=r"as a scaler leaves them, and those of X_target(.|\n)*transform_input"):
        pipeline.fit(x, y, adaptedclassifier__X_target=x_t)


@pytest.mark.parametrize("scaler", SCALERS, ids=lambda scaler: type(scaler).__name__)
def test_a_target_that_was_scaled_as_the_source_is_not(scaler):
    x, _, x_t = shifted()
    x, x_t = 100 + 30 * x, 100 + 30 * x_t
    assert scaled_alone(scaler.fit(x).transform(x), scaler.transform(x_t)) is None
    assert scaled_alone(x, x_t) is None


def test_tensors_are_rows():
    x, y, x_t = shifted()
    found = quick().fit(torch.tensor(x), torch.tensor(y == "ill"), torch.tensor(x_t))
    np.testing.assert_array_equal(
        found.predict_proba(torch.tensor(x_t)), quick().fit(x, y == "ill", x_t).predict_proba(x_t)
    )


@pytest.mark.parametrize(("kind", "shape"), [("signal", (8, 2, 30)), ("images", (8, 9, 9))])
def test_more_axes_are_said_by_kind(kind, shape):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=shape), np.arange(len(generator.normal(size=shape))) % 2
    with pytest.raises(ValueError, match='kind="signal"'):
        quick().fit(x, y, x + 1)
    fitted = quick(steps=2, kind=kind).fit(x, y, x + 1)
    assert fitted.predict_proba(x).shape == (8, 2)
    assert fitted.model_.config.kind == kind
