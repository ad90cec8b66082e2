"""The tests' contributions, thresholds and ties by their definitions, and what is made of samples before a test."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from jointadapt.discrepancy.estimators import check_layers
from jointadapt.discrepancy.fourier import draw, joint_features
from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.two_sample import two_sample_test
from jointadapt.two_sample.given import EXACT, as_samples
from jointadapt.two_sample.normal import _normal, cross_test, fourier_test, linear_test
from jointadapt.two_sample.permutation import TIE, _permuted, aggregated_test
from jointadapt.two_sample.samples import (
    MEDIAN_ROWS,
    Pooled,
    _far_rows,
    _matrices,
    pool,
    shuffled,
    slices_in_one_unit,
    unread,
)
from jointadapt.two_sample.weights import maximise_ratio

SUMS = {"rtol": 1e-9, "atol": 1e-9}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(rows: int, columns: int, seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(rows, columns, generator=seeded(seed), dtype=torch.float64) + shift


def pooled(n: int, m: int, bandwidth: float = 3.0) -> Pooled:
    return pool(normal(n, 2), normal(m, 2, 1, 0.8), GaussianKernel(bandwidth), seeded())


def gram(sample: Pooled, multiple: float = 1.0) -> torch.Tensor:
    x = sample.layers[0]
    distances = (x[:, None] - x[None]).square().sum(-1)
    return sum((-distances / (s * multiple * sample.bandwidths[0])).exp() for s in (0.25, 0.5, 1.0, 2.0, 4.0))


# Contributions


def witness(K: torch.Tensor, n: int) -> torch.Tensor:
    """Return each row's mean with the others of its own sample, less that with the other sample."""
    own = torch.zeros(len(K), dtype=torch.float64)
    for i in range(len(K)):
        mine, others = (range(n), range(n, len(K))) if i < n else (range(n, len(K)), range(n))
        own[i] = np.mean([K[i, j] for j in mine if j != i]) - np.mean([K[i, j] for j in others])
    return own


def test_contributions_of_the_aggregated_test_are_in_soft_maximum_proportions() -> None:
    n, m, multiples = 9, 12, (0.1, 1.0, 3.0)
    sample = pooled(n, m)
    found = aggregated_test(sample, 19, 0.05, 5, seeded(), multiples)
    grams = [gram(sample, multiple).fill_diagonal_(0) for multiple in multiples]
    N, power = n + m, math.sqrt(n * (n - 1))
    norms = [(K.square().sum() / (N * (N - 1))).sqrt() for K in grams]
    witnesses = torch.stack([witness(K, n) / norm for K, norm in zip(grams, norms, strict=True)])
    values = witnesses[:, :n].mean(1) + witnesses[:, n:].mean(1)  # each is MMD², normalised
    proportions = (power * values).softmax(0)
    expected = (proportions[:, None] * witnesses).sum(0)
    torch.testing.assert_close(torch.cat([found.source_contributions, found.target_contributions]), expected, **SUMS)
    assert found.statistic == pytest.approx(((power * values).logsumexp(0) - math.log(3)).item() / power)


def half_means(values: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    return values[:, columns].mean(1)


@pytest.mark.parametrize(("n", "m"), [(11, 8), (8, 13)])
def test_contributions_of_the_cross_test_are_the_witness_of_the_other_half(n: int, m: int) -> None:
    sample, generator = pooled(n, m), seeded(3)
    K = gram(sample)
    source, target = shuffled(n, generator), shuffled(m, generator) + n
    halves = [(source[: n // 2], target[: m // 2]), (source[n // 2 :], target[m // 2 :])]
    expected = torch.zeros(n + m, dtype=torch.float64)
    for here, there in ((0, 1), (1, 0)):
        places = torch.cat(halves[here])
        seen = half_means(K, halves[there][0]) - half_means(K, halves[there][1])
        expected[places] = seen[places]
    expected[n:] *= -1
    found = cross_test(sample, 0.05, 3, seeded(3))
    torch.testing.assert_close(torch.cat([found.source_contributions, found.target_contributions]), expected, **SUMS)
    first = [expected[places] for places in halves[0]]
    assert found.statistic == pytest.approx((first[0].mean() + first[1].mean()).item())


@pytest.mark.parametrize("tile", [2, 4, 2048])
@pytest.mark.parametrize(("n", "m"), [(11, 8), (8, 13)])
def test_the_fourier_test_is_the_cross_test_of_its_features(
    n: int, m: int, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Halves are the rows of even and of odd place, in tiles of any even size."""
    monkeypatch.setattr("jointadapt.two_sample.normal.FOURIER_TILE", tile)
    x, y = [normal(n, 2)], [normal(m, 2, 1, 0.8)]
    kernels = check_layers(x, y, [GaussianKernel(3.0, (1.0, 2.0), (0.5, 1.5))])
    drawn = draw(x, y, kernels, 32, seeded(5))
    K = [joint_features(rows, drawn).double() for rows in (x, y)]
    scale = 2 * 2.0 / 32  # k(0) = 2
    expected = [torch.zeros(n, dtype=torch.float64), torch.zeros(m, dtype=torch.float64)]
    for half in (0, 1):
        mean = scale * (K[0][1 - half :: 2].mean(0) - K[1][1 - half :: 2].mean(0))
        for values, features, sign in zip(expected, K, (1, -1), strict=True):
            values[half::2] = sign * (features[half::2] @ mean)
    found = fourier_test(x, y, kernels, 0.05, 32, seeded(5))
    torch.testing.assert_close(found.source_contributions, expected[0], **SUMS)
    torch.testing.assert_close(found.target_contributions, expected[1], **SUMS)
    at_source, at_target = expected[0][::2], expected[1][::2]
    assert found.statistic == pytest.approx((at_source.mean() + at_target.mean()).item())
    deviation = (at_source.var() / len(at_source) + at_target.var() / len(at_target)).sqrt().item()
    assert found.p_value == pytest.approx(math.erfc(found.statistic / deviation / math.sqrt(2)) / 2)


# Thresholds


@pytest.mark.parametrize(("statistic", "p_value"), [(1.0, 0.0), (0.0, 1.0), (-1.0, 1.0)])
def test_without_a_deviation_the_sign_decides(statistic: float, p_value: float) -> None:
    contributions = (torch.zeros(3), torch.zeros(4))
    found = _normal("cross", 0.05, statistic, 0.0, contributions, 1)
    assert found.p_value == p_value
    assert found.rejected == (statistic > 0)
    assert found.permutations == len(found.null) == 0


def test_a_p_value_equal_to_the_level_rejects() -> None:
    contributions = (torch.zeros(3), torch.zeros(4))
    assert _normal("cross", 0.5, 0.0, 1.0, contributions, 1).rejected
    assert _normal("cross", 0.5, -0.01, 1.0, contributions, 1).rejected is False
    statistics = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    found = _permuted("permutation", pooled(5, 5), 0.25, statistics, torch.zeros(10))
    assert (found.p_value, found.rejected) == (0.25, True)


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize(("below", "ties"), [(0.0, True), (0.9, True), (1.2, False)])
def test_values_within_a_small_part_of_the_deviation_tie(size: float, below: float, ties: bool) -> None:
    null = size * torch.tensor([9.0, 7.0], dtype=torch.float64)  # of deviation `size`
    observed = size * (9 + below * TIE)
    statistics = torch.cat([torch.tensor([observed], dtype=torch.float64), null])
    found = _permuted("permutation", pooled(5, 5), 0.05, statistics, torch.zeros(10))
    assert found.p_value == (1 + ties) / 3


@pytest.mark.parametrize("multiples", [(), (1.0, 0.0), (0.0,), (1.0, -1.0)])
def test_multiples_are_positive(multiples: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="one or more positive numbers"):
        aggregated_test(pooled(5, 5), 19, 0.05, 512, seeded(), multiples)


def test_rows_that_no_kernel_relates_are_no_evidence() -> None:
    found = aggregated_test(pooled(6, 6, bandwidth=1e-9), 19, 0.05, 512, seeded(), (1.0, 2.0))
    assert found.statistic == 0
    assert found.p_value == 1


def test_four_rows_are_enough_for_a_normal_threshold_and_three_are_not() -> None:
    kernels = [GaussianKernel(3.0)]
    for n, m in ((4, 9), (9, 4)):
        cross_test(pooled(n, m), 0.05, 512, seeded())
        linear_test(pooled(n, m), 0.05, 512, seeded())
        fourier_test([normal(n, 2)], [normal(m, 2)], kernels, 0.05, 8, seeded())
    for n, m in ((3, 9), (9, 3)):
        for test in (cross_test, linear_test):
            with pytest.raises(ValueError, match="needs 4 or more rows"):
                test(pooled(n, m), 0.05, 512, seeded())
        with pytest.raises(ValueError, match="the fourier test needs 4 or more rows"):
            fourier_test([normal(n, 2)], [normal(m, 2)], kernels, 0.05, 8, seeded())


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("row", [4, 5])
def test_a_number_that_is_none_is_found_in_either_half_as_the_rows_pass(side: str, row: int) -> None:
    spoilt = normal(9, 2)
    spoilt[row, 1] = math.nan
    samples = ([spoilt], [normal(9, 2)]) if side == "source" else ([normal(9, 2)], [spoilt])
    with pytest.raises(ValueError, match=f"{side} has NaN or infinity"):
        fourier_test(*samples, [GaussianKernel(3.0)], 0.05, 8, seeded())


# What is given


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("largest", "exact"), [(EXACT - 1, False), (EXACT, True), (2**40 + 1, True)])
def test_integers_that_float32_would_round_become_float64(largest: int, exact: bool, sign: int) -> None:
    rows = np.array([[0, 1], [2, sign * largest]])
    for given in (rows, torch.from_numpy(rows)):
        source, target = as_samples(given, given)
        for found in (source, target):
            assert str(found.dtype).removeprefix("torch.") == ("float64" if exact else "int64")
            assert (found == given).all()
    constant = np.full((3, 1), sign * largest)
    assert (as_samples(constant, constant)[0].dtype == np.float64) == exact


def test_no_integers_and_complex_numbers_stay_as_they_are() -> None:
    for given in (
        np.zeros((0, 2), dtype=int),
        torch.zeros(0, 2, dtype=torch.int64),
        torch.zeros(3, 2, dtype=torch.cfloat),
    ):
        assert as_samples(given, given)[0].dtype == given.dtype


def test_rows_on_disk_stay_there(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.arange(2**25, 2**25 + 6).reshape(3, 2))
    on_disk = np.load(tmp_path / "rows.npy", mmap_mode="r")
    assert as_samples(on_disk, on_disk)[0] is on_disk
    swapped = on_disk.astype(">i8")
    np.save(tmp_path / "swapped.npy", swapped)
    read, _ = as_samples(np.load(tmp_path / "swapped.npy", mmap_mode="r"), on_disk)
    assert read.dtype == np.float64
    np.testing.assert_array_equal(read, swapped)


def test_frames_are_matched_by_name_alone_and_in_lists() -> None:
    left = pd.DataFrame({" a": [1.0, 2.0], "b ": [3.0, 4.0]})
    right = pd.DataFrame({"b": [5.0, 6.0], "a ": [7.0, 8.0]})
    for source, target in (as_samples(left, right), *zip(*as_samples([left], [right]), strict=True)):
        np.testing.assert_array_equal(source, [[1, 3], [2, 4]])
        np.testing.assert_array_equal(target, [[7, 5], [8, 6]])
    source, target = as_samples(left, np.ones((2, 2)))
    np.testing.assert_array_equal(source, [[1, 3], [2, 4]])
    np.testing.assert_array_equal(target, np.ones((2, 2)))
    by_number = pd.DataFrame({0: [1.0], 1: [2.0]}), pd.DataFrame({1: [4.0], 0: [3.0]})
    np.testing.assert_array_equal(as_samples(*by_number)[1], [[3, 4]])


def test_lists_that_do_not_fit_are_left_to_be_told_of() -> None:
    x = normal(6, 2)
    assert as_samples([x], x)[0] == [x]
    assert as_samples([x, x], [x])[0] == [x, x]
    with pytest.raises(ValueError, match="source has 2 layers and target 1"):
        two_sample_test([x, x], [x])


def test_one_layer_with_far_rows_makes_all_float64() -> None:
    near, far = normal(300, 2).float(), normal(300, 2).float()
    far[0] = 1e6
    number = GaussianKernel(3.0)  # by a rule, outliers are held within fences
    for layers in ([near, far], [far, near]):
        found = pool(layers, [near, near], [number, number], seeded())
        assert {layer.dtype for layer in found.layers} == {torch.float64}
    assert pool([near], [near], [number], seeded()).dtype == torch.float32


def test_rows_are_far_from_the_mean_wherever_that_is() -> None:
    near = normal(300, 2).float() + 1e5
    far = near.clone()
    far[0] += 1e6
    assert _far_rows(far)
    assert not _far_rows(near)


@pytest.mark.parametrize(
    "sample", [[], np.zeros(5), np.zeros((5, 0)), np.zeros((0, 5)), [np.zeros((5, 2)), np.zeros(5)]]
)
def test_what_is_no_matrix_is_told_before_it_is_read(sample: object) -> None:
    with pytest.raises(ValueError, match="target must be a matrix"):
        unread("target", sample)  # pyright: ignore[reportArgumentType]


def test_half_precision_on_disk_is_read_in_single() -> None:
    x = np.arange(200.0, dtype=np.float16).reshape(100, 2) * [1, 100]
    (rows,), _, _ = slices_in_one_unit(unread("s", x.astype(np.float16)), unread("t", x.astype(np.float16)),
                                       [GaussianKernel()], "pooled")  # fmt: skip
    assert rows[0:5].dtype == torch.float32
    torch.testing.assert_close(rows[0:100].double().std(0, correction=0), torch.ones(2).double(), rtol=1e-5, atol=1e-5)


def test_samples_are_taken_without_gradient_in_single_precision_or_wider() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        (found,) = _matrices("source", normal(5, 2).to(dtype).requires_grad_(), 2)
        assert not found.requires_grad
        assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_of_many_rows_only_the_median_is_found_in_some(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(40, 2), normal(40, 2, 1)
    kernels = [GaussianKernel(rule) for rule in ("mean", "median")]
    whole = pool([x, x], [y, y], kernels, seeded(), standardize="no").bandwidths
    monkeypatch.setattr("jointadapt.two_sample.samples.MEDIAN_ROWS", 16)
    some = pool([x, x], [y, y], kernels, seeded(), standardize="no").bandwidths
    assert MEDIAN_ROWS > 80
    assert some[0] == whole[0]
    assert some[1] != whole[1]


def test_a_seed_is_a_generator_with_that_seed_and_none_is_0() -> None:
    x, y = normal(20, 2), normal(20, 2, 1, 0.4)
    for given, same in ((3, seeded(3)), (None, seeded(0)), (0, seeded(0))):
        left, right = (two_sample_test(x, y, permutations=99, generator=generator) for generator in (given, same))
        assert torch.equal(left.null, right.null)


def test_no_positive_mean_gives_all_weight_to_one_scale() -> None:
    assert maximise_ratio(np.zeros(3), np.eye(3)) == (3.0, 0.0, 0.0)
    assert maximise_ratio(np.array([-2.0, -1.0]), np.diag([16.0, 1.0])) == (2.0, 0.0)  # −½ against −1
