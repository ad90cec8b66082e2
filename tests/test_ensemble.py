"""Several networks joined: the mean of their probabilities, in memory and as a file."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jointadapt.data import from_arrays
from jointadapt.experiment import train
from jointadapt.networks.ensemble import join, shares_backbone
from jointadapt.runs.model import Model

ROWS = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(60, 1, 8, 8, generator=torch.Generator().manual_seed(0))
FAST = {"steps": 5, "report": False, "baseline": False, "batch_size": 16, "standardize": "no"}


def models(x: torch.Tensor, count: int = 3, **options: object) -> list[Model]:
    y = torch.arange(len(x)) % 3
    return [train((x, y), x + 1, method="mcc", seed=seed, **FAST, **options).model for seed in range(count)]


def joined(members: list[Model]) -> Model:
    return replace(members[0], network=join([model.network for model in members]).eval())


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("x", "options", "shared"),
    [
        (ROWS, {}, True),
        (ROWS, {"bottleneck": 0}, True),
        (ROWS, {"backbone": "mlp"}, False),
        (IMAGES, {"backbone": "cnn", "kind": "images"}, False),
    ],
)
def test_the_joined_network_averages_probabilities_and_is_kept(x, options, shared: bool, tmp_path: Path):
    members = models(x, **options)
    assert shares_backbone([model.network for model in members]) == shared
    model, domain = joined(members), from_arrays(x, kind=options.get("kind", "auto"))
    expected = torch.stack([member.predict_proba(domain) for member in members]).mean(0)
    torch.testing.assert_close(model.predict_proba(domain), expected)
    assert model.members == 3
    model.save(tmp_path / "model.safetensors")
    again = Model.load(tmp_path)
    assert again.members == 3
    assert torch.equal(again.predict_proba(domain), model.predict_proba(domain))


def test_one_network_joined_with_itself_is_itself():
    (member,) = models(ROWS, 1)
    model, domain = joined([member, member]), from_arrays(ROWS)
    torch.testing.assert_close(model.predict_proba(domain), member.predict_proba(domain))
    outputs = model.outputs(domain)
    assert outputs.features.shape == (60, 2 * member.network.widths[-2])
    with torch.inference_mode():
        again = model.network.head.classifier(outputs.features).softmax(1)
    torch.testing.assert_close(again, outputs.probabilities)
