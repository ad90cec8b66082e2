"""Made vibrations of damaged bearings: a small problem with the shifts that machines have, for tests and examples."""

from collections.abc import Sequence

import numpy as np
from scipy.signal import lfilter

from jointadapt.data.arrays import from_arrays
from jointadapt.data.domain import Domain

CLASSES = ("normal", "ball", "inner", "outer")
RATE = 12_000  # samples a second
ORDERS = {"ball": 4.71, "inner": 5.42, "outer": 3.58}  # impacts a turn of the shaft, of a 6205 deep groove ball bearing
CARRIERS = {"ball": 2_600.0, "inner": 3_400.0, "outer": 2_900.0}  # Hz that an impact rings at
DECAY = 0.0008  # seconds in which the ringing fades to 1/e
SLIP = 0.02  # of the time between two impacts, a standard deviation


def synthetic_bearings(
    rows: int = 200,
    time: int = 1024,
    *,
    speed: float = 1_797.0,
    load: float = 1.0,
    noise: float = 0.5,
    sensor: Sequence[float] = (1.0,),
    seed: int = 0,
    name: str = "bearings",
) -> Domain:
    """Return a domain of signals (rows, 1, time) at 12 kHz, of the classes normal, ball, inner, outer, equally many.

    A damaged part is struck at its own frequency, a multiple of the shaft's, and each impact lets the housing ring; the
    times slip a little, since balls do. An inner race passes the loaded zone once a turn, so that its impacts come and
    go; a ball strikes both races. Below all lie the shaft and white noise.

    Args:
        speed: of the shaft, turns a minute: it moves every fault frequency.
        load: how strong the impacts are, and how much the passing of the loaded zone shows.
        noise: standard deviation; an impact of load 1 has amplitude 1.
        sensor: coefficients of the FIR filter that a sensor and its mount are: `(1, 0.9)` dampens what is high.
        seed: of everything random.

    Source: the model of McFadden and Smith, Journal of Sound and Vibration 1984, with the slip of Antoni and Randall,
    2002.

    >>> made = synthetic_bearings(8, 256)
    >>> made.shape, made.classes, made.labels.bincount().tolist()
    ((1, 256), ('normal', 'ball', 'inner', 'outer'), [2, 2, 2, 2])
    """
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % len(CLASSES)
    signals = np.stack([_vibration(CLASSES[label], time, speed / 60, load, rng) for label in labels])
    noisy = signals + noise * rng.normal(size=signals.shape)
    filtered = np.asarray(lfilter(np.asarray(sensor, float), [1.0], noisy, axis=1))
    named = [CLASSES[label] for label in labels]
    domain = from_arrays(filtered.astype(np.float32), named, name, kind="signal")
    found, _ = domain.in_classes(CLASSES)
    return found


def _vibration(part: str, time: int, turns: float, load: float, rng: np.random.Generator) -> np.ndarray:
    """Return one signal without noise; `turns` a second."""
    seconds = np.arange(time) / RATE
    shaft = 0.3 * np.sin(2 * np.pi * (turns * seconds + rng.random()))
    if part == "normal":
        return shaft
    between = 1 / (ORDERS[part] * turns)
    gaps = between * (1 + SLIP * rng.normal(size=int(seconds[-1] / between) + 4))
    times = np.cumsum(gaps) - between * (1 + 2 * rng.random())
    strengths = load * (1 + 0.2 * rng.normal(size=len(times)))
    if part == "inner":
        strengths *= 1 + 0.8 * load / (1 + load) * np.cos(2 * np.pi * (turns * times + rng.random()))
    if part == "ball":
        strengths[::2] *= 0.6  # the outer race, farther from the sensor's mount
    since = seconds[:, None] - times
    ringing = np.exp(-np.maximum(since, 0) / DECAY) * np.sin(2 * np.pi * CARRIERS[part] * since) * (since >= 0)
    return shaft + ringing @ strengths
