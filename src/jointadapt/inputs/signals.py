"""Signals → windows of them → the samples, or their frequencies, as a network is handed them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from jointadapt.data import Domain
from jointadapt.data.signals import with_channels
from jointadapt.errors import UserError
from jointadapt.inputs.base import InputStep
from jointadapt.inputs.options import SIGNAL_OPTIONS, InputOptions, Representation

LEAST = 1e-8  # of a deviation that is divided by
LEAST_EIGENVALUE = 1e-6  # of a covariance, against its largest
FEWEST_SAMPLES = 16
FLOOR = 1e-3  # of a power before its logarithm, where noise of the window's own strength has 1


@dataclass(frozen=True)
class Signals(InputStep):
    """Recordings are cut into windows, which are re-centred by domain, z-scored, and represented, as options say.

    Args:
        shape: (channels, time) of a window.
        stride: samples from the start of one window to that of the next; 0: recordings are no longer than a window.
        zscore: each window is brought to mean 0 in each channel, and to deviation 1 over all of them.
        representation: the samples, log(1 + magnitudes of their Fourier transform), or log-spectrograms.
        recentring: the matrices (channels, channels) that source and target are multiplied by; none: they are not.
    """

    name: ClassVar[str] = "signals"
    shape: tuple[int, int]
    stride: int
    zscore: bool
    representation: Representation
    recentring: tuple[Tensor, ...] = ()
    of_origins: tuple[Tensor, ...] = ()

    @classmethod
    def fit(cls, options: InputOptions, source: Domain, target: Domain) -> "Signals | None":
        """Return the step for two domains of signals; None for rows of another kind."""
        if source.kind != "signal" or target.kind != "signal":
            _check_unasked(options)
            return None
        channels, time = with_channels(source.select([0])).rows([0]).shape[1:]
        window = options.window or time
        stride = (options.stride or window) if options.window else 0
        zscore = not options.recenter if options.zscore == "auto" else options.zscore
        step = cls((channels, window), stride, zscore, options.representation)
        if not options.recenter:
            return step
        cut = [step.windows(domain) for domain in (source, target)]
        recentring = tuple(alignment(domain.rows(range(len(domain)))) for domain in cut)
        parts = cut[0].by_origin() if source.origins is not None else ()
        return replace(
            step, recentring=recentring, of_origins=tuple(alignment(part.rows(range(len(part)))) for part in parts)
        )

    def source(self, domain: Domain) -> Domain:
        """Return windows of the source's kind as the network gets them."""
        several = domain.origins is not None and len(domain.origin_names) == len(self.of_origins)
        return self._represented(domain, self.of_origins if several else self.recentring[:1])

    def target(self, domain: Domain) -> Domain:
        """Return windows of the target's kind as the network gets them."""
        return self._represented(domain, self.recentring[1:])

    def windows(self, domain: Domain) -> Domain:
        """Return the windows (n, channels, time) of a domain's recordings, each named after its recording and number.

        They keep their recording in `groups`; the samples behind the last whole window are left out.
        """
        domain = self._checked(domain)
        if not self.stride:
            return domain
        rows = domain.rows(range(len(domain))).unfold(2, self.shape[1], self.stride)  # (n, channels, windows, time)
        count = rows.shape[2]
        recording = torch.arange(len(domain)).repeat_interleave(count)
        groups = recording if domain.groups is None else domain.groups[recording]
        weights, origins = (None if x is None else x[recording] for x in (domain.weights, domain.origins))
        items = tuple(f"{item} window {number}" for item in domain.items for number in range(count))
        content, labels = rows.transpose(1, 2).reshape(-1, *self.shape), domain.labels[recording]
        beside = {"groups": groups, "weights": weights, "origins": origins}
        return replace(domain, content=content, labels=labels, items=items, **beside)

    def _checked(self, domain: Domain) -> Domain:
        """Return a domain of signals that the step reads; plain rows are signals of one channel."""
        domain = with_channels(domain)
        (_, channels, time), (wanted, window) = domain.rows([0]).shape, self.shape
        if channels != wanted:
            raise UserError(
                f"{domain.name} has signals of {channels} channels, and the source's have {wanted}; give both the same "
                "channels, in the same order, as (n, channels, time)."
            )
        if time < window:
            raise UserError(
                f"{domain.name} has signals of {time} samples, shorter than a window of {window}; give --window "
                f"{time} or less."
            )
        if time != window and not self.stride:
            raise UserError(
                f"{domain.name} has signals of {time} samples, and the source's have {window}; --window N cuts both "
                "into windows of N samples."
            )
        return domain

    def _represented(self, domain: Domain, recentring: tuple[Tensor, ...]) -> Domain:
        domain = self.windows(domain)
        rows = domain.rows(range(len(domain)))
        if recentring:
            matrices = torch.stack(recentring)
            matrix = matrices[domain.origins] if len(matrices) > 1 and domain.origins is not None else matrices[0]
            rows = matrix @ (rows - rows.mean(-1, keepdim=True))
        if self.zscore:
            rows = standardised(rows)
        match self.representation:
            case "fft":
                return spectra(replace(domain, content=rows))
            case "log-spectrogram":
                return replace(domain, content=log_spectrograms(rows), kind="pixels")
            case _:
                return replace(domain, content=rows)

    def values(self) -> dict[str, Any]:
        """Return the options as they were resolved."""
        return {name: getattr(self, name) for name in ("shape", "stride", "zscore", "representation")}

    def tensors(self) -> dict[str, Tensor]:
        """Return the matrices, by role, and of each of several sources."""
        own = {f"source {number}": matrix for number, matrix in enumerate(self.of_origins)}
        return dict(zip(("source", "target"), self.recentring, strict=False)) | own

    @classmethod
    def restore(cls, values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> "Signals":
        """Return the step that had learnt this."""
        recentring = tuple(tensors[role] for role in ("source", "target") if role in tensors)
        names = (f"source {number}" for number in range(len(tensors)))
        of_origins = tuple(tensors[name] for name in names if name in tensors)
        return cls(**{**values, "shape": tuple(values["shape"])}, recentring=recentring, of_origins=of_origins)


def _check_unasked(options: InputOptions) -> None:
    """Raise a `UserError` for an option of signals where rows are none."""
    plain = InputOptions()
    asked = [name for name in SIGNAL_OPTIONS if getattr(options, name) != getattr(plain, name)]
    if asked:
        raise UserError(f"--{asked[0]} is for signals, and these rows are none; give --kind signal, or leave it out.")


def standardised(rows: Float[Tensor, "n channels time"]) -> Float[Tensor, "n channels time"]:
    """Return windows of mean 0 in each channel, and of deviation 1 over all channels together.

    How strong a window is says more of the sensor and the load than of the class; how strong its channels are against
    one another is kept. A constant window is 0.

    >>> standardised(torch.tensor([[[1.0, 3.0], [5.0, 5.0]]]))[0].round(decimals=2)
    tensor([[-1.4100,  1.4100],
            [ 0.0000,  0.0000]])
    """
    centred = rows - rows.mean(-1, keepdim=True)
    return centred / centred.pow(2).mean((1, 2), keepdim=True).sqrt().clamp_min(LEAST)


def magnitudes(rows: Float[Tensor, "n channels time"]) -> Float[Tensor, "n channels frequencies"]:
    """Return |FFT| / √time at the frequencies k / time, k = 1 … time / 2 (cycles a sample); the mean is left out.

    White noise of deviation 1 has a mean square of 1 at each. Where a window begins does not matter to it.

    >>> wave = torch.arange(8.0).mul(torch.pi / 2).sin()  # two periods
    >>> magnitudes(wave[None, None])[0, 0].round(decimals=2)
    tensor([0.0000, 1.4100, 0.0000, 0.0000])
    """
    return torch.fft.rfft(rows, dim=-1).abs()[..., 1:] / rows.shape[-1] ** 0.5


def spectra(domain: Domain) -> Domain:
    """Return a domain of signals as rows of numbers that can be compared, wherever each begins: log(1 + `magnitudes`).

    Without the logarithm the few strongest lines are all that counts, and what a sensor's filter does to them.
    """
    rows = magnitudes(domain.rows(range(len(domain)))).log1p()
    return replace(domain, content=rows.flatten(1), kind="features")


def log_spectrograms(rows: Float[Tensor, "n channels time"]) -> Float[Tensor, "n channels frequencies frames"]:
    """Return log(power + 0.001) of short Fourier transforms, half overlapping, under a Hann window.

    The frames have the power of two samples that is next below a sixteenth of the time, between 16 and 256: from 1,024
    samples come 33 frequencies × 31 frames. White noise of deviation 1 has power 1.

    >>> log_spectrograms(torch.randn(2, 3, 1024)).shape
    torch.Size([2, 3, 33, 31])
    """
    channels, time = rows.shape[1:]
    if time < FEWEST_SAMPLES:
        raise UserError(f"a log-spectrogram needs {FEWEST_SAMPLES} samples or more; got {time}. Use fft, or raw.")
    frame = min(256, max(16, 2 ** ((time // 16).bit_length() - 1)))
    window = torch.hann_window(frame)
    found = torch.stft(rows.flatten(0, 1), frame, frame // 2, window=window, center=False, return_complex=True)
    power = found.abs().pow(2) / window.pow(2).sum()
    return (power + FLOOR).log().unflatten(0, (-1, channels))


def alignment(rows: Float[Tensor, "n channels time"]) -> Float[Tensor, "channels channels"]:
    """Return R^(−1/2), R = 1/n Σ_i X_i X_iᵀ / time the mean covariance of a domain's windows: Euclidean alignment.

    Multiplied by it, the domain's mean covariance is the identity, as is every other domain's: what differs from one
    head or sensor mount to another in strength and mixing of the channels is gone. Each channel of a window has its
    mean taken off first. Directions without variance (an average reference, a dead channel) stay without.
    Source: He and Wu, IEEE Transactions on Biomedical Engineering 2020, Eq. (10)–(12).

    >>> x = torch.randn(50, 2, 100, generator=torch.Generator().manual_seed(0)) * torch.tensor([[1.0], [9.0]])
    >>> alignment(x).diagonal().round(decimals=1)
    tensor([1.0000, 0.1000])
    """
    x = (rows - rows.mean(-1, keepdim=True)).double()
    covariance = torch.einsum("nct,ndt->cd", x, x) / (len(x) * x.shape[-1])
    values, vectors = torch.linalg.eigh(covariance)
    scaled = values.clamp_min(LEAST_EIGENVALUE * values.max().clamp_min(LEAST)).rsqrt()
    return ((vectors * scaled) @ vectors.T).float()
