"""A model in a folder that is shared, and on the Hugging Face Hub: `save_pretrained`, `push_to_hub`, `from_pretrained`.

`Model` itself knows nothing of the hub, so that it works without the extra; `HubModel` is a `Model` that does.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from jointadapt.config import Config, names_a_file
from jointadapt.errors import UserError, as_user_error
from jointadapt.experiment import Run
from jointadapt.exporting.card import CardFacts, Given, render
from jointadapt.networks.features import PrecomputedFeatures
from jointadapt.runs.model import Model
from jointadapt.runs.reading import FinishedRun
from jointadapt.version import __version__

try:
    from huggingface_hub import ModelCard, ModelHubMixin, hf_hub_download
except ImportError as error:
    raise UserError("sharing needs huggingface_hub; install it with: pip install 'jointadapt[hub]'") from error

MODEL, CARD, CONFIG = "model.safetensors", "README.md", "config.json"


class HubModel(Model, ModelHubMixin):
    """A `Model` that is shared by a folder, or by the Hugging Face Hub.

    The folder holds the weights (`model.safetensors`, no pickle), a model card (`README.md`) and what the hub shows
    (`config.json`). It is also what `jointadapt predict` and `Model.load` take.

    >>> import tempfile, numpy as np, jointadapt
    >>> x = np.random.default_rng(0).normal(size=(60, 4))
    >>> run = jointadapt.train((x, x[:, 0] > 0), x + 1, steps=10)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     HubModel.of(run).save_pretrained(folder)
    ...     model = HubModel.from_pretrained(folder)
    >>> model.classes
    ('False', 'True')
    """

    facts: CardFacts | None = None
    card: str = ""

    def __init__(self, **parts: Any) -> None:
        # Not named one by one: of a parameter `config` the mixin would make what stands in config.json.
        super().__init__(**parts)

    @classmethod
    def of(
        cls, run: Given, *, backbone: str | nn.Module | None = None, weights: str | Path | None = None
    ) -> "HubModel":
        """Return the model of a run as one that can be shared.

        A run's frozen backbone is shared with it, whatever the run's own file holds. Names of files stay, but no path.

        Args:
            run: a run folder, a `FinishedRun`, a `Run` of `jointadapt.train`, or a `Model`.
            backbone, weights: as `Model.load` takes them, for a run folder.
        """
        facts = CardFacts.of(run)
        if isinstance(run, FinishedRun):
            run = run.folder
        if isinstance(run, str | Path):
            model = Model.load(run, backbone=backbone, weights=weights)
        else:
            model = run.model if isinstance(run, Run) else run
        if isinstance(model.network.backbone, PrecomputedFeatures):
            raise UserError("this model holds the head alone, its backbone is elsewhere; share it from its run folder.")
        parts = {name: getattr(model, name) for name in Model.__dataclass_fields__}
        shared = cls(**{**parts, "config": _without_paths(model.config)})
        shared.facts = facts
        return shared

    def generate_model_card(self, *, repo: str = "", license: str = "", date: str = "") -> ModelCard:  # noqa: A002
        """Return the model card: the one that it came with, else a new one (`model_card`)."""
        return ModelCard(self.card or render(self.facts or CardFacts.of(self), repo=repo, license=license, date=date))

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Return the address of the commit that holds the model on the hub, with its card.

        Args:
            repo_id: "your-name/your-model"; made if it is not there.
            options: as `ModelHubMixin.push_to_hub` takes them: private, token, branch, commit_message, …;
                `model_card_kwargs={"license": "mit"}` goes to the card.
        """
        given = options.pop("model_card_kwargs", None) or {}
        return super().push_to_hub(repo_id, model_card_kwargs={"repo": repo_id, **given}, **options)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "HubModel":
        """Return the model of a shared folder, or of a repository on the hub.

        No code of others is run: weights are safetensors, networks are built by names that this installation knows. A
        backbone of one's own has to be given.

        Args:
            pretrained_model_name_or_path: the folder, or "their-name/their-model".
            options: as `ModelHubMixin.from_pretrained` takes them: revision, token, cache_dir, local_files_only, …; and
                as `Model.load` does: backbone, weights.
        """
        with as_user_error(Path(pretrained_model_name_or_path), "as a shared model"):
            return super().from_pretrained(pretrained_model_name_or_path, **options)

    def _save_pretrained(self, save_directory: Path) -> None:
        self.save(save_directory / MODEL)
        about = {
            "library_name": "jointadapt",
            "jointadapt_version": __version__,
            "method": self.config.method,
            "backbone": self.config.backbone,
            "id2label": dict(enumerate(self.classes)),
        }
        (save_directory / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        backbone: str | nn.Module | None = None,
        weights: str | Path | None = None,
        **download: Any,
    ) -> "HubModel":
        folder = Path(model_id)
        if not folder.is_dir():
            files = [hf_hub_download(model_id, name, **download) for name in (CARD, MODEL)]
            folder = Path(files[-1]).parent
        model = cls.load(folder, backbone=backbone, weights=weights)
        assert isinstance(model, HubModel)
        card = folder / CARD
        model.card = card.read_text("utf-8") if card.is_file() else ""
        return model


def _without_paths(config: Config) -> Config:
    """Return the configuration with the names of files in place of their paths."""
    named = {name: getattr(config, name) for name in Config.__dataclass_fields__ if names_a_file(name)}
    return replace(config, **{name: Path(value).name if value else value for name, value in named.items()})
