"""`AdaptedClassifier`: scikit-learn's `fit`, `predict` and `predict_proba` around a run in memory."""

import warnings
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn

from jointadapt.config import BASELINE, fitting
from jointadapt.data import UNLABELLED, Domain, from_arrays
from jointadapt.data.kinds import Kind
from jointadapt.data.labels import encode_labels
from jointadapt.diagnostics.shift_kind import diagnose
from jointadapt.errors import UserError, unknown_name
from jointadapt.estimator.given import Target, label_of_unknown, split_domains, target_of, with_origins
from jointadapt.estimator.scaling import scaled_alone
from jointadapt.evaluation.predict import mean_by_group
from jointadapt.experiment import Run, train
from jointadapt.inputs.signals import spectra
from jointadapt.methods import Method
from jointadapt.runs.summary import AccuracyEstimate, DiagnosisSummary
from jointadapt.runtime.torch_defaults import torch_defaults

TARGET_ARGUMENTS = ("X_target", "target_labels", "X_target_unlabeled", "X_target_labeled", "y_target_labeled")
MOST_SEEDS = 2**31 - 1


class MethodChoice(NamedTuple):
    """The method that a fit has used, and why."""

    method: str
    reason: str


class AdaptedClassifier(ClassifierMixin, BaseEstimator):
    """A classifier trained on labelled source rows and unlabelled target rows, as scikit-learn's estimators are used.

    Args:
        method: how to adapt; a name of `METHODS`, a sum of names ("jan+mcc"), or a subclass of `Method`. "auto" trains
            several and chooses one without target labels, or none if none helps.
        backbone: "auto" ("none" for features, as they are), "mlp", another name that `Config` knows, or a module of
            one's own (`Backbone.of`), which is copied.
        kind: what X holds: "features" (n, d), also what "auto" takes it for; "signal" (n, time) or (n, channels, time);
            "images" (n, height, width) or (n, height, width, channels).
        bottleneck, dropout, steps, batch_size, learning_rate: as in `Config`.
        standardize: z-scores by the columns of "source", or of each "domain", or "no"; "auto" as the rows suggest.
        random_state: the seed of everything, an integer; None, or a `RandomState`, draws one at each fit.
        baseline: also train without adaptation, for `baseline_`; "auto" does so in any case.
        unknown: also tell rows of classes that y lacks: `predict` gives them `unknown_label`.
        unknown_label: None takes "unknown" where the classes are texts, -1 where they are numbers.
        options: further options of a run, or of the method, by name (`{"estimator": "linear"}`).

    Attributes:
        classes_: the labels, sorted.
        model_: the trained `Model`.
        baseline_: the `Model` trained without adaptation; None unless `baseline`, or the method, asks for it.
        choice_: which method was used, and why: (method, reason).
        diagnosis_: in which way the domains differ (`.kind`, `.words`); None without target rows.
        sources_: what each of several sources counts for, and which was dropped (`SourceWeight`); empty for one.
        p_value_: of the test whether they differ at all; None without target rows.
        unknown_label_: what unknown rows are called; None where they are not told.
        unknown_threshold_: the `unknown_score` above which they are; None likewise.
        estimated_accuracy_, accuracy_interval_: the accuracy that is expected on the target, and its 90 % interval, as
            fractions; None where it cannot be told, or was not asked for: by options={"estimate": True}, or "auto".
        accuracy_estimate_: the whole `AccuracyEstimate`, in percent, with its words; None where it was not asked for.
        n_features_in_, feature_names_in_: as scikit-learn has them.

    Without target rows, `fit` trains on the source alone, whatever the method. Nothing is written to disk.

    >>> x = np.random.default_rng(0).normal(size=(80, 4))
    >>> classifier = AdaptedClassifier(steps=30).fit(x, x[:, 0] > 0, x + 1)
    >>> classifier.predict(x[:2]).dtype
    dtype('bool')
    """

    # Each of them can mean one thing only, so that nobody has to say that it is asked for; skada's scorers are given
    # target_labels of their own.
    __metadata_request__fit: ClassVar = {
        **dict.fromkeys((*TARGET_ARGUMENTS, "source_domain", "sample_domain"), True),
        "target_labels": False,
    }

    def __init__(
        self,
        method: str | type[Method] = "jan",
        *,
        backbone: str | nn.Module = "auto",
        kind: Kind = "auto",
        bottleneck: int | np.integer = 256,
        dropout: float | np.floating = 0.5,
        steps: int | np.integer = 600,
        batch_size: int | np.integer = 36,
        learning_rate: float | np.floating = 0.01,
        standardize: str = "auto",
        random_state: int | np.integer | np.random.RandomState | None = 0,
        baseline: bool = False,
        unknown: bool = False,
        unknown_label: Any = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        self.method, self.backbone, self.bottleneck, self.dropout = method, backbone, bottleneck, dropout
        self.steps, self.batch_size, self.learning_rate = steps, batch_size, learning_rate
        self.kind: Kind = kind
        self.standardize = standardize
        self.random_state, self.baseline, self.options = random_state, baseline, options
        self.unknown, self.unknown_label = unknown, unknown_label

    @torch_defaults()
    def fit(
        self,
        X: Any,
        y: Any,
        X_target: Any = None,
        *,
        target_labels: Any = None,
        X_target_unlabeled: Any = None,
        X_target_labeled: Any = None,
        y_target_labeled: Any = None,
        source_domain: Any = None,
        sample_domain: Any = None,
    ) -> "AdaptedClassifier":
        """Return the estimator, trained.

        Args:
            X, y: source rows (n, d) and their labels (n,).
            X_target: target rows (m, d), without labels; None trains on the source alone. A search or cross-validation
                cuts it into folds if m = n; `jointadapt.whole(X_target)` is handed on whole.
            target_labels: of `X_target` (m,), where they are known, else None or NaN: to train on too.
            X_target_unlabeled: another name of `X_target`, as MOABB has it.
            X_target_labeled, y_target_labeled: target rows that are labelled, to train on too.
            source_domain: where X holds several sources, the name or number of its own for each row (n,).
            sample_domain: instead of all these, as skada has it: X and y hold both domains, and this a number for each
                row, positive in a source, negative in the target. The target's y is not looked at.
        """
        parts = (X_target, target_labels, X_target_unlabeled, X_target_labeled, y_target_labeled)
        if sample_domain is not None:
            if any(part is not None for part in (*parts, source_domain)):
                others = ", ".join((*TARGET_ARGUMENTS, "source_domain"))
                raise UserError(f"with sample_domain the target stands in X; leave {others} out.")
            (X, y, source_domain), target = split_domains(X, y, sample_domain)
        else:
            target = target_of(*parts)
        source = self._source(X, y)
        if not target:
            self._train(source, source.unlabelled(), None, adapts=False)
            return self
        source = with_origins(source, source_domain)
        rows, labels = self._target(target)
        if source.kind == "features" and (warning := scaled_alone(*map(_matrix, (source, rows)))) is not None:
            warnings.warn(warning, stacklevel=3)
        self._train(source, rows, labels, adapts=True)
        return self

    def _source(self, X: Any, y: Any) -> Domain:
        """Return the source as a domain whose classes are `classes_`, which it sets."""
        X, y = validate_data(self, X, y, **self._dimensions(X))
        check_classification_targets(y)
        self.classes_, indices = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs two classes or more; y holds one class only ({self.classes_[0]!r}).")
        self.unknown_label_ = label_of_unknown(self.classes_, self.unknown_label) if self.unknown else None
        domain = from_arrays(X, None, "X", kind=self._kind)
        return replace(domain, labels=torch.from_numpy(indices), classes=self._class_names())

    @property
    def _kind(self) -> Kind:
        return "features" if self.kind == "auto" else self.kind

    def _dimensions(self, X: Any) -> dict[str, Any]:
        """Return what `validate_data` has to know of the axes of X; more than two have to be said by `kind`."""
        if self._kind != "features":
            return {"allow_nd": True, "ensure_2d": False}
        if getattr(X, "ndim", 2) > 2:
            raise UserError(
                f"X has shape {tuple(X.shape)}: Expected 2 dimensions, (n, d). Say what it is: "
                'kind="signal" for (n, channels, time), kind="images" for (n, height, width) or (n, height, width, '
                "channels); or reshape it."
            )
        return {}

    def _class_names(self) -> tuple[str, ...]:
        """Return what the run calls `classes_`."""
        found = encode_labels(self.classes_, len(self.classes_), "y")
        return tuple(
            str(given) if index == UNLABELLED else found.classes[index]
            for given, index in zip(self.classes_, found.indices.tolist(), strict=True)
        )

    def _target(self, target: Target) -> tuple[Domain, dict[str, str]]:
        """Return the target as a domain without labels, and item → class of the rows whose labels are trained on."""
        rows = [validate_data(self, part, reset=False, **self._dimensions(part)) for part, _ in target.parts]
        known = [self._indices(labels, len(part)) for part, (_, labels) in zip(rows, target.parts, strict=True)]
        domain = from_arrays(np.concatenate(rows), None, "X_target", kind=self._kind)
        names = self._class_names()
        pairs = zip(domain.items, np.concatenate(known).tolist(), strict=True)
        return domain, {item: names[index] for item, index in pairs if index != UNLABELLED}

    def _indices(self, labels: Any, rows: int) -> np.ndarray:
        """Return target labels (rows,) as indices into `classes_`, `UNLABELLED` where there is none."""
        found = encode_labels(labels, rows, "the target's labels")
        names = self._class_names()
        for name in found.classes:
            if name not in names:
                raise unknown_name("class of the target's labels", name, names)
        translation = np.array([*(names.index(name) for name in found.classes), UNLABELLED])
        return translation[found.indices.numpy()]

    def _train(self, source: Domain, target: Domain, labels: dict[str, str] | None, adapts: bool) -> None:
        """Set the attributes that a run leaves."""
        options = self._run_options()
        if not adapts:
            options = {**fitting(options, BASELINE), "method": BASELINE}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "(.*)fewer than a batch", UserWarning)
            run = train(source, target, target_labels=labels or "", **options)
        self.model_, self.baseline_, self.sources_ = run.model, run.baseline, run.summary.sources
        self.unknown_threshold_ = None if run.model.unknown is None else run.model.unknown.threshold
        self.choice_ = self._choice(run, adapts)
        self._set_estimate(run.summary.accuracy_estimate if adapts else None)
        self.diagnosis_ = self._diagnosis(run, source, target) if adapts else None
        self.p_value_ = None if self.diagnosis_ is None else self.diagnosis_.p_value

    def _set_estimate(self, found: AccuracyEstimate | None) -> None:
        """Set the attributes of the expected target accuracy."""
        self.accuracy_estimate_ = found
        self.estimated_accuracy_ = self.accuracy_interval_ = None
        if found is not None and found.value is not None and found.low is not None and found.high is not None:
            self.estimated_accuracy_ = found.value / 100
            self.accuracy_interval_ = found.low / 100, found.high / 100

    def _run_options(self) -> dict[str, Any]:
        """Return the options of the run: parameters of this estimator, by their name in `Config`, and further ones."""
        own, options = self.get_params(deep=False), dict(self.options or {})
        del own["options"], own["unknown_label"]
        twice = [name for name in options if name in own or name in ("seed", "report")]
        if "target_labels" in options:
            raise UserError(
                "options gives 'target_labels'; they are given to fit: fit(X, y, X_target, target_labels=…)."
            )
        if twice:
            name = "random_state" if twice[0] == "seed" else twice[0]
            raise UserError(
                f"options gives {twice[0]!r}, which is no option of its own here: "
                + ("nothing is written." if name == "report" else f"give AdaptedClassifier({name}=…) alone.")
            )
        state = own.pop("random_state")
        drawn = state is None or isinstance(state, np.random.RandomState)
        seed = int(check_random_state(state).randint(MOST_SEEDS)) if drawn else state
        return {**own, "seed": seed, "report": False, **options}

    @staticmethod
    def _choice(run: Run, adapts: bool) -> MethodChoice:
        summary = run.summary
        if not adapts:
            return MethodChoice(BASELINE, "No target rows were given.")
        if summary.chosen:
            return MethodChoice(summary.chosen, summary.verdict)
        return MethodChoice(summary.method, "It was asked for.")

    @staticmethod
    def _diagnosis(run: Run, source: Domain, target: Domain) -> DiagnosisSummary:
        """Return what `auto` found, or what it would have found."""
        if run.summary.diagnosis is not None:
            return run.summary.diagnosis
        x_s, x_t = (torch.from_numpy(_matrix(domain)) for domain in (source, target))
        return DiagnosisSummary(**diagnose(x_s, source.labels, x_t, run.summary.seed).to_dict())

    @torch_defaults()
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class of `classes_`, (n, classes); of a recording the mean of its windows'."""
        domain = self._ready(X)
        return _by_recording(self.model_.predict_proba(domain), domain)

    def unknown_score(self, X: Any) -> np.ndarray:
        """Return the score (n,), from 0 to 1, of being of no class of `classes_`; of a recording its windows' mean."""
        domain = self._ready(X)
        return _by_recording(self.model_.unknown_scores(domain)[:, None], domain)[:, 0]

    def _ready(self, X: Any) -> Domain:
        """Return rows as the model is handed them."""
        check_is_fitted(self)
        rows = np.asarray(validate_data(self, X, reset=False, **self._dimensions(X)))
        return self.model_.inputs.target(from_arrays(rows, None, "X", kind=self._kind))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (n,); `unknown_label_` for rows of none, where they are told."""
        probabilities = self.predict_proba(X)  # which tells whether there is anything fitted
        named = self.classes_[probabilities.argmax(1)]
        if self.unknown_label_ is None:
            return named
        return np.where(self.unknown_score(X) > self.unknown_threshold_, self.unknown_label_, named)


def _by_recording(found: torch.Tensor, domain: Domain) -> np.ndarray:
    return (found if domain.groups is None else mean_by_group(found, domain.groups)).numpy()


def _matrix(domain: Domain) -> np.ndarray:
    """Return the rows of arrays in memory as a matrix; of signals their spectra."""
    domain = spectra(domain) if domain.kind == "signal" else domain
    return domain.rows(range(len(domain))).flatten(1).numpy()
