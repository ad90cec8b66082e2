"""Annotated data, by duck typing and with the real package where it is installed."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from jointadapt import adapt_anndata
from jointadapt.errors import UserError

QUICK = {"steps": 60, "batch_size": 12, "baseline": False, "report": False}
Y = np.arange(90) % 3
X = np.random.default_rng(0).normal(size=(90, 6)) + 4 * np.eye(6)[Y]
DONOR = np.where(np.arange(90) < 60, np.where(np.arange(90) < 30, "d1", "d2"), "d3")
CELL = np.where(DONOR == "d3", None, np.array(["B", "T", "NK"], dtype=object)[Y])


def cells(x: Any = X, **obs: Any) -> Any:
    return SimpleNamespace(
        X=x,
        obs={"donor": DONOR, "cell": CELL, **obs},
        var_names=[f"gene {number}" for number in range(6)],
        obs_names=[f"cell {number}" for number in range(90)],
        layers={"counts": X},
        obsm={"X_pca": X[:, :3]},
    )


@pytest.mark.parametrize("given", [{}, {"target": "d3"}, {"layer": "counts"}, {"obsm": "X_pca"}])
def test_columns_are_written_for_the_target(given: dict) -> None:
    adata = cells(sparse.csr_matrix(X))
    run = adapt_anndata(adata, label="cell", domain="donor", **given, **QUICK)
    inside = DONOR == "d3"
    assert run.model.classes == ("B", "NK", "T")
    assert run.model.shape == (3 if "obsm" in given else 6,)
    assert adata.obs["jointadapt_label"][~inside].tolist() == CELL[~inside].tolist()
    assert (adata.obs["jointadapt_label"][inside] == np.array(["B", "T", "NK"])[Y[inside]]).mean() > 0.9
    assert np.isnan(adata.obs["jointadapt_confidence"]).tolist() == (~inside).tolist()


def test_one_domain_may_be_named_and_its_labels_only_evaluate() -> None:
    adata = cells(cell=np.array(["B", "T", "NK"])[Y])
    run = adapt_anndata(adata, label="cell", domain="donor", target="d1", key="to_d1", **QUICK)
    assert run.summary.evaluation is not None
    assert run.summary.evaluation.rows == 30
    assert set(adata.obs) == {"donor", "cell", "to_d1_label", "to_d1_confidence"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"label": "type"}, "obs has no column 'type'; it has 'donor', 'cell'"),
        ({"target": "d4"}, r"obs\['donor'\] has no 'd4'; the target is one of 'd1', 'd2', 'd3'"),
        ({"layer": "raw"}, "adata has no 'raw' in layers; there are counts"),
        ({"layer": "counts", "obsm": "X_pca"}, "give layer or obsm, not both"),
        ({"label": "donor"}, "has 0 domains without labels; name the target, one of 'd1', 'd2', 'd3'"),
        ({"domain": "gap"}, r"obs\['gap'\] is empty in 1 of 90 rows"),
    ],
)
def test_a_mistake_is_told_in_one_line(given: dict, says: str) -> None:
    gap = np.where(np.arange(90) == 5, np.nan, Y)
    wanted = {"label": "cell", "domain": "donor", **given}
    adata = cells(gap=gap) if wanted["domain"] == "gap" else cells()
    with pytest.raises(UserError, match=says):
        adapt_anndata(adata, **wanted, **QUICK)


def test_the_real_package() -> None:
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    obs = pandas.DataFrame({"donor": pandas.Categorical(DONOR), "cell": pandas.Categorical(CELL)})
    adata = anndata.AnnData(sparse.csr_matrix(X), obs.set_index(pandas.Index([f"c{i}" for i in range(90)])))
    run = adapt_anndata(adata, label="cell", domain="donor", **QUICK)
    assert run.model.classes == ("B", "NK", "T")
    assert (adata.obs["jointadapt_label"][60:] == np.array(["B", "T", "NK"])[Y[60:]]).mean() > 0.9
    assert adata.obs["jointadapt_confidence"].isna().sum() == 60
