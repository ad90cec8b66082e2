"""The two-sample tests against sums written from their equations, and against what a test must not depend on."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from jointadapt.discrepancy.kernels import GaussianKernel
from jointadapt.two_sample import check_options, two_sample_test
from jointadapt.two_sample.normal import cross_test, linear_test
from jointadapt.two_sample.permutation import _permuted, relabellings, tiled_sums, unbiased
from jointadapt.two_sample.samples import _matrices, pool, shuffled

EXACT = 1e-11  # float64 sums in another order
SINGLE = 4e-4  # of the null spread; without the constant taken off K the errors are 5e-4 to 2e-3
METHODS = ("permutation", "aggregated", "cross", "linear")


@pytest.fixture(autouse=True)
def one_thread():
    """Small tests gain nothing from threads, and lose much where cores are shared."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(rows, columns, seed=0, shift=0.0):
    return torch.randn(rows, columns, generator=seeded(seed), dtype=torch.float64) + shift


def one_hot(labels):
    return torch.nn.functional.one_hot(labels, 2).double()


def naive_kernel(layers, kernels, multiple=1.0):
    """∏_ℓ Σ_u exp(−‖x−y‖²/(s_u γ)) pair by pair, γ the mean squared distance of distinct pairs or as given."""
    N = len(layers[0])
    K = np.ones((N, N))
    for rows, kernel in zip(layers, kernels, strict=True):
        D = np.array([[float(((a - b) ** 2).sum()) for b in rows] for a in rows])
        gamma = D.sum() / (N * (N - 1)) if kernel.bandwidth == "mean" else kernel.bandwidth
        K *= sum(np.exp(-D / (scale * gamma * multiple)) for scale in kernel.scales)
    return K


def naive_unbiased(K, source, target):
    """Gretton et al., JMLR 2012, Eq. (3), by plain sums."""
    within_s = sum(K[i, j] for i in source for j in source if i != j) / (len(source) * (len(source) - 1))
    within_t = sum(K[i, j] for i in target for j in target if i != j) / (len(target) * (len(target) - 1))
    return within_s + within_t - 2 * sum(K[i, j] for i in source for j in target) / (len(source) * len(target))


def naive_null(K, labels):
    return np.array([naive_unbiased(K, np.flatnonzero(z), np.flatnonzero(~z)) for z in labels.numpy()])


LAYERS = (
    [normal(9, 3, seed=1), normal(9, 2, seed=2).softmax(1)],
    [normal(6, 3, seed=3, shift=0.7), normal(6, 2, seed=4).softmax(1)],
)
KERNELS = (GaussianKernel(), GaussianKernel(1.68, scales=(1.0,)))


@pytest.mark.parametrize("tile", [4, 7, 15, 64])
def test_permuted_statistics_equal_plain_sums_over_the_same_permutations(tile):
    labels = relabellings(15, 9, 20, seeded(5))
    rows = pool(*LAYERS, None, seeded())
    (sums,) = tiled_sums(rows, labels, (1.0,), tile)
    K = naive_kernel([torch.cat(pair).numpy() for pair in zip(*LAYERS, strict=True)], KERNELS)
    np.testing.assert_allclose(unbiased(sums, labels, 9, tile), naive_null(K, labels), rtol=0, atol=EXACT)


def test_statistic_p_value_quantiles_and_contributions_follow_their_definitions():
    result = two_sample_test(*LAYERS, permutations=99, tile=4, level=0.1, generator=seeded(5))
    K = naive_kernel([torch.cat(pair).numpy() for pair in zip(*LAYERS, strict=True)], KERNELS)
    observed, *null = naive_null(K, relabellings(15, 9, 99, seeded(5)))
    assert result.statistic == pytest.approx(observed, abs=EXACT)
    assert result.p_value == (1 + sum(value >= observed for value in null)) / 100
    assert 0.01 < result.p_value < 0.99, "the case should be able to tell ≥ from ≤"
    assert result.rejected == (result.p_value <= 0.1)
    np.testing.assert_allclose(result.null, null, rtol=0, atol=EXACT)
    assert result.null_quantiles == pytest.approx({q: np.quantile(null, q) for q in (0.5, 0.9, 0.95, 0.99)}, abs=EXACT)
    row = 2  # a source row
    own = sum(K[row, j] for j in range(9) if j != row) / 8
    assert float(result.source_contributions[row]) == pytest.approx(own - K[row, 9:].mean(), abs=EXACT)
    means = result.source_contributions.mean() + result.target_contributions.mean()
    assert float(means) == pytest.approx(observed, abs=EXACT)
    assert (result.sizes, result.layers, result.method, result.permutations) == ((9, 6), 2, "permutation", 99)


def test_aggregated_statistic_equals_its_formula_for_every_permutation():
    multiples = (0.25, 1.0, 3.0)
    result = two_sample_test(
        *LAYERS, method="aggregated", multiples=multiples, permutations=99, tile=4, generator=seeded(5)
    )
    labels = relabellings(15, 9, 99, seeded(5))
    root = math.sqrt(6 * 5)
    total = 0
    for multiple in multiples:
        K = naive_kernel([torch.cat(pair).numpy() for pair in zip(*LAYERS, strict=True)], KERNELS, multiple)
        mean_square = sum(K[i, j] ** 2 for i in range(15) for j in range(15) if i != j) / (15 * 14)
        total = total + np.exp(root * naive_null(K, labels) / math.sqrt(mean_square)) / len(multiples)
    observed, *null = np.log(total) / root
    assert result.statistic == pytest.approx(observed, abs=EXACT)
    assert result.p_value == (1 + sum(value >= observed for value in null)) / 100
    assert result.null_quantiles[0.95] == pytest.approx(np.quantile(null, 0.95), abs=EXACT)


@pytest.mark.parametrize(("n", "m"), [(33, 30), (32, 32)])
def test_cross_statistic_equals_its_formula(n, m):
    source, target = normal(n, 3, seed=1), normal(m, 3, seed=2, shift=0.5)
    result = two_sample_test(source, target, method="cross", tile=3, generator=seeded(7))
    draw = seeded(7)
    s, t = shuffled(n, draw).tolist(), (shuffled(m, draw) + n).tolist()
    K = naive_kernel([torch.cat([source, target]).numpy()], [GaussianKernel()])
    (s1, s2), (t1, t2) = (s[: n // 2], s[n // 2 :]), (t[: m // 2], t[m // 2 :])
    witness = {i: sum(K[i, j] for j in s2) / len(s2) - sum(K[i, j] for j in t2) / len(t2) for i in s1 + t1}
    f_s, f_t = np.array([witness[i] for i in s1]), np.array([witness[i] for i in t1])
    statistic = f_s.mean() - f_t.mean()
    deviation = math.sqrt(f_s.var(ddof=1) / len(s1) + f_t.var(ddof=1) / len(t1))
    assert result.statistic == pytest.approx(statistic, abs=EXACT)
    assert result.p_value == pytest.approx(0.5 * math.erfc(statistic / deviation / math.sqrt(2)), abs=EXACT)
    assert result.null_quantiles[0.95] == pytest.approx(1.6448536269514722 * deviation, abs=EXACT)
    for i in s1:
        assert float(result.source_contributions[i]) == pytest.approx(witness[i], abs=EXACT)
    if n == m:
        means = result.source_contributions.mean() + result.target_contributions.mean()
        assert float(means) == pytest.approx(statistic, abs=EXACT)


def test_linear_statistic_equals_its_formula():
    source, target = normal(63, 3, seed=1), normal(61, 3, seed=2, shift=0.5)
    result = two_sample_test(source, target, method="linear", tile=2, generator=seeded(7))
    draw = seeded(7)
    s, t = shuffled(63, draw)[:60].tolist(), (shuffled(61, draw)[:60] + 63).tolist()
    K = naive_kernel([torch.cat([source, target]).numpy()], [GaussianKernel()])
    pairs = zip(s[:30], s[30:], t[:30], t[30:], strict=True)
    h = np.array([K[a, b] + K[c, d] - K[a, d] - K[b, c] for a, b, c, d in pairs])
    assert result.statistic == pytest.approx(h.mean(), abs=EXACT)
    z = h.mean() / (h.std(ddof=1) / math.sqrt(30))
    assert result.p_value == pytest.approx(0.5 * math.erfc(z / math.sqrt(2)), abs=EXACT)
    means = result.source_contributions.sum() / 60 + result.target_contributions.sum() / 60
    assert float(means) == pytest.approx(h.mean(), abs=EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", ["permutation", "aggregated"])
def test_relabellings_that_repeat_the_observed_one_tie_with_it(method, dtype):
    """Of the 6 ways to label 2 + 2 rows, the observed one and its mirror image are best: p ≈ 1/3, not 1/(1 + B)."""
    source = torch.tensor([[0.1, 7.3], [0.35, 7.1]], dtype=dtype)
    result = two_sample_test(source, source + 5, method=method, permutations=3000, tile=3)
    assert abs(result.p_value - 1 / 3) < 0.04


def test_rounding_breaks_no_tie():
    """Values that differ from the observed one by rounding only count as equal, be they spread out or all one."""
    rows = pool(*LAYERS, None, seeded())
    spread = torch.tensor([1.0, 1.0 - 1e-9, 1.0 - 1e-9, 0.0, 0.5], dtype=torch.float64)
    assert _permuted("permutation", rows, 0.5, spread, torch.zeros(15)).p_value == 3 / 5
    equal = torch.tensor([0.0, -1e-17, -1e-17, 0.0], dtype=torch.float64)
    assert _permuted("permutation", rows, 0.5, equal, torch.zeros(15)).p_value == 1


@pytest.mark.parametrize("method", METHODS)
def test_equal_rows_give_no_evidence(method):
    rows = torch.full((12, 3), 1234.567)
    result = two_sample_test(rows, rows, method=method, permutations=50)
    assert result.p_value == 1
    assert not result.rejected


@pytest.mark.parametrize("method", METHODS)
def test_float32_with_a_large_common_offset_agrees_with_float64(method):
    """Features 1,000 from zero and kernel values near their maximum: the statistic is a difference of O(1) means."""
    source, target = (normal(300, 5, seed=seed, shift=1000.0).float() for seed in (1, 2))
    kernel = GaussianKernel(20_000.0, scales=(1.0,))
    single, double = (
        two_sample_test(x, y, method=method, kernels=kernel, permutations=200, tile=128)
        for x, y in ((source, target), (source.double(), target.double()))
    )
    spread = double.null_quantiles[0.95] - double.null_quantiles[0.5]
    assert abs(single.statistic - double.statistic) < SINGLE * spread
    assert abs(single.p_value - double.p_value) <= 1 / 200
    torch.testing.assert_close(single.source_contributions, double.source_contributions, rtol=0, atol=2e-6)


@pytest.mark.parametrize("method", ["permutation", "aggregated"])
def test_row_order_and_the_names_of_the_samples_do_not_matter(method):
    source, target = LAYERS
    order_s, order_t = shuffled(9, seeded(1)), shuffled(6, seeded(2))
    first = two_sample_test(source, target, method=method)
    moved = two_sample_test([x[order_s] for x in source], [y[order_t] for y in target], method=method)
    swapped = two_sample_test(target, source, method=method)
    assert moved.statistic == pytest.approx(first.statistic, abs=EXACT)
    assert swapped.statistic == pytest.approx(first.statistic, abs=EXACT)
    torch.testing.assert_close(moved.source_contributions, first.source_contributions[order_s], rtol=0, atol=EXACT)
    torch.testing.assert_close(swapped.target_contributions, first.source_contributions, rtol=0, atol=EXACT)
    assert abs(moved.p_value - first.p_value) < 0.06  # other permutations are drawn


@pytest.mark.parametrize("method", METHODS)
def test_the_generator_decides_and_global_generators_are_untouched(method):
    source, target = normal(40, 2, seed=1), normal(30, 2, seed=2, shift=0.3)
    state = torch.get_rng_state()
    results = [
        two_sample_test(source, target, method=method, generator=generator, permutations=99)
        for generator in (None, None, seeded(3), seeded(3), seeded(4))
    ]
    assert torch.equal(state, torch.get_rng_state())
    p = [result.p_value for result in results]
    assert p[0] == p[1]
    assert p[2] == p[3]
    assert len({p[0], p[2], p[4]}) > 1
    assert not results[0].source_contributions.requires_grad


@pytest.mark.parametrize("method", METHODS)
def test_arrays_tensors_lists_half_precision_and_autocast_give_one_answer(method):
    source, target = (normal(40, 4, seed=seed).bfloat16().requires_grad_() for seed in (1, 2))
    reference = two_sample_test(source.float(), target.float(), method=method, permutations=99)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = two_sample_test(source, target, method=method, permutations=99)
    arrays = two_sample_test(
        source.detach().float().numpy(), [target.detach().float().numpy()], method=method, permutations=99
    )
    assert half.statistic == reference.statistic == arrays.statistic
    assert half.p_value == reference.p_value == arrays.p_value


def test_each_relabelling_chooses_as_many_rows_and_every_choice_is_as_likely():
    labels = relabellings(5, 2, 20_000, seeded())
    assert labels[0].tolist() == [True, True, False, False, False]
    assert (labels.sum(1) == 2).all()
    codes = (labels[1:] * torch.tensor([1, 2, 4, 8, 16])).sum(1)
    counts = torch.bincount(codes)[[2**a + 2**b for a, b in itertools.combinations(range(5), 2)]]
    chi_square = float(((counts - 2000) ** 2 / 2000).sum())
    assert chi_square < 27.88  # the 0.999 quantile, 9 degrees of freedom


def test_equal_marginals_and_different_joints_only_the_joint_test_sees_it():
    """Target labels are swapped: features and predictions have the same marginals, their combination has not."""
    labels = torch.arange(200) % 2
    noise = normal(400, 2, seed=1)
    features = noise + torch.cat([labels, labels])[:, None] * 6.0
    source = [features[:200], one_hot(labels)]
    target = [features[200:], one_hot(1 - labels)]
    joint = two_sample_test(source, target)
    per_layer = [two_sample_test(x, y) for x, y in zip(source, target, strict=True)]
    assert joint.rejected
    assert joint.p_value < 0.002
    assert not any(result.rejected for result in per_layer)
    assert abs(sum(result.statistic for result in per_layer)) < 0.02 * joint.statistic
    for method in ("aggregated", "cross", "linear"):
        assert two_sample_test(source, target, method=method).rejected
        assert not any(two_sample_test(x, y, method=method).rejected for x, y in zip(source, target, strict=True))


@pytest.mark.parametrize(
    ("method", "rows"), [("permutation", 60), ("aggregated", 60), ("cross", 120), ("linear", 2000)]
)
def test_a_clear_shift_is_found_and_its_rows_are_named(method, rows):
    source, target = normal(rows, 3, seed=1), normal(rows, 3, seed=2, shift=0.8)
    result = two_sample_test(source, target, method=method)
    assert result.rejected
    assert result.p_value < 0.01
    assert result.statistic > result.null_quantiles[0.99]
    if method != "linear":  # rows far from the other sample contribute more than rows near it
        direction = target.sum(1)
        correlation = torch.corrcoef(torch.stack([direction, result.target_contributions.double()]))[0, 1]
        assert correlation > 0.5


def test_top_examples_names_a_planted_cluster():
    source, target = normal(100, 3, seed=1), normal(80, 3, seed=2)
    planted = list(range(3, 80, 6))
    target[planted] = 5 + 0.1 * target[planted]
    result = two_sample_test(source, target)
    assert sorted(result.top_examples(len(planted))[1]) == planted
    assert len(result.top_examples(3)[0]) == 3


def test_aggregated_finds_a_difference_narrower_than_one_bandwidth_sees():
    """A fine two-peaked structure of the same mean and variance: one wide Gaussian is blind to it."""
    source = normal(150, 1, seed=1)
    comb = (normal(150, 1, seed=2) * 4).round() / 4
    wide = GaussianKernel("mean", scales=(4.0,))
    assert not two_sample_test(source, comb, kernels=wide).rejected
    assert two_sample_test(source, comb, kernels=wide, method="aggregated", multiples=(1e-4, 1e-2, 1.0)).rejected


def test_a_median_over_many_rows_reads_some_of_them(monkeypatch):
    source, target = normal(60, 2, seed=1), normal(60, 2, seed=2)
    kernel = GaussianKernel("median")
    whole = pool(source, target, kernel, seeded()).bandwidths[0]
    monkeypatch.setattr("jointadapt.two_sample.samples.MEDIAN_ROWS", 50)
    some = pool(source, target, kernel, seeded()).bandwidths[0]
    assert some != whole
    assert 0.5 < some / whole < 2


def test_printing_it_gives_a_sentence():
    found = str(two_sample_test(normal(60, 3, seed=1), normal(50, 3, seed=2, shift=1.0)))
    assert found.startswith("Source (60 examples) and target (50 examples) differ at the 5 % level: MMD² = ")
    assert "p = 0.001 (permutation test, 1,000 permutations; rejects above" in found
    assert "Examples that contribute most: source " in found
    layers = [[normal(40, 3, seed=seed), normal(40, 2, seed=seed + 1).softmax(1)] for seed in (1, 3)]
    none = str(two_sample_test(*layers, method="cross", level=0.001))
    assert "show no difference at the 0.1 % level: JMMD² = " in none
    assert "cross test, normal threshold" in none
    assert "contribute" not in none


GOOD = np.zeros((5, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.full((5, 2), np.nan), GOOD), "source layer 0 has NaN or infinity in 5 of 5 rows"),
        ((GOOD, [GOOD, np.array([[0.0], [1.0], [np.inf], [1.0], [0.0]])]), "NaN or infinity in 1 of 5 rows"),
        ((np.zeros((0, 2)), GOOD), "source has 0 rows; expected 2 or more"),
        ((GOOD, np.zeros((1, 2))), "target has 1 rows; expected 2 or more"),
        ((GOOD, np.zeros((5, 3))), "layer 0 has 2 columns in source and 3 in target"),
        ((np.zeros(5), GOOD), r"must be a matrix with one row an example; got shape \(5,\).*x\[:, None\]"),
        ((np.zeros((5, 0)), np.zeros((5, 0))), "must be a matrix"),
        (([], GOOD), "source is an empty list"),
        (([GOOD, GOOD], GOOD), "source has 2 layers and target 1"),
        (([GOOD, GOOD[:4]], [GOOD, GOOD]), "all source layers need the same rows; got 5, 4 rows"),
        ((np.full((5, 2), 1e30, np.float32) * np.eye(5, 2, dtype=np.float32), GOOD.astype(np.float32)), "overflow"),
    ],
)
def test_bad_samples_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        two_sample_test(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 1.5}, "level must lie between 0 and 1; got 1.5"),
        ({"level": 0.0}, "level must lie between 0 and 1; got 0.0"),
        ({"level": 1.0}, "level must lie between 0 and 1; got 1.0"),
        ({"permutations": 18}, "18 permutations cannot give p ≤ 0.05.*Use 19 or more"),
        ({"kernels": [GaussianKernel()] * 2}, "one kernel a layer is needed; got 2 kernels for 1 layers"),
        ({"method": "aggregated", "multiples": ()}, "multiples must be one or more positive numbers"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        two_sample_test(GOOD, GOOD, **options)


@pytest.mark.parametrize("method", ["permutation", "cross"])
@pytest.mark.parametrize("sample", [[], [3.0]])
def test_what_is_no_sample_is_told_where_few_rows_would_be_permuted_too(sample, method):
    with pytest.raises((TypeError, ValueError), match="source"):
        two_sample_test(sample, GOOD, method=method)


@pytest.mark.parametrize("method", ["cross", "fourier", "linear"])
def test_sizes_are_those_of_the_two_samples(method):
    assert two_sample_test(normal(60, 3, seed=1), normal(70, 3, seed=2), method=method).sizes == (60, 70)


@pytest.mark.parametrize("method", ["cross", "linear"])
def test_tests_with_a_normal_threshold_ask_for_rows(method):
    with pytest.raises(ValueError, match=f"the {method} test needs 4 or more rows of each sample; got 5 and 3"):
        {"cross": cross_test, "linear": linear_test}[method](pool(GOOD, GOOD[:3], None, seeded()), 0.05, 512, seeded())


@pytest.mark.parametrize(("method", "rows"), [("cross", 30), ("fourier", 30), ("linear", 60)])
def test_where_a_normal_threshold_has_too_few_rows_permutations_take_its_place(method, rows):
    source, target = normal(rows, 3, seed=1), normal(rows, 3, seed=2)
    assert two_sample_test(source, target, method=method).permutations == 0
    few = two_sample_test(source[1:].numpy(), target, method=method, permutations=99, generator=seeded(5))
    exact = two_sample_test(source[1:], target, permutations=99, generator=seeded(5))
    assert (few.method, few.asked, few.permutations, few.p_value) == ("permutation", method, 99, exact.p_value)
    assert f"(permutation test instead of {method}, which needs {rows} rows of each sample, 99 permutations;" in str(
        few
    )
    assert two_sample_test(source[:3], target[:2], method=method, level=0.0005).permutations == 1999
    with pytest.raises(ValueError, match=r"got 4 and 30,000. Give it more of the one, or some thousand of the other"):
        two_sample_test(source[:4], torch.zeros(30_000, 3), method=method)


def test_wrong_types_are_named_where_no_checker_runs():
    """Under pytest the annotations are checked first, so the checks are called directly."""
    with pytest.raises(TypeError, match=r"target must be a matrix.*layer 0 is a float.*numpy.asarray"):
        _matrices("target", [1.0, 2.0], least=2)
    with pytest.raises(
        ValueError, match="method must be one of permutation, aggregated, cross, fourier, linear; got 'boot'"
    ):
        check_options("boot", 0.05, 1000)


MEMORY = """
import torch
from jointadapt.two_sample import check_options, two_sample_test
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024
torch.set_num_threads(1)
rows = torch.randn(8000, 16)
two_sample_test(rows[:600], rows[600:1200], permutations=200)
before = peak()
two_sample_test(rows[:4000], rows[4000:], permutations=200)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_memory_does_not_hold_the_gram_matrix():
    """8,000 rows: K would be 244 MiB of float32; a tile, the labels and one tile of products are a few."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 40
