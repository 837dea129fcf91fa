"""Agreement with torch-fidelity 0.4.0 and prdc 0.2, whose results alone are stored in data/golden.json.

The features are made by `features` from seeds 1 (samples) and 2 (real). In an environment with both packages, in
float64: frechet is fid_statistics_to_metric of the two fid_features_to_statistics; kid is kid_features_to_metric with
kid_subsets=1 and kid_subset_size=n, a single subset of everything; kid_of_20_subsets_of_50 the same with 20 subsets
of 50 and rng_seed=2020; mmd2_sigma_3 as kid, with kid_kernel="rbf" and kid_kernel_rbf_sigma=3; prdc is
compute_prdc(real, samples, k) for k = 3 and 5.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from diffjax.evaluation.frechet_distance import frechet, frechet_from_moments, gather_moments
from diffjax.evaluation.mmd import kid, mmd2
from diffjax.evaluation.precision_recall import coverage_scores

CASES = json.loads((Path(__file__).parent / "data" / "golden.json").read_text())["cases"]


def features(seed, n, d, shift, scale):
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).standard_normal((d, d)) / np.sqrt(d)
    return np.abs(scale * rng.standard_normal((n, d)) @ mix + shift)


@pytest.fixture(params=CASES, ids=lambda case: f"{case['n']}x{case['d']}")
def golden(request):
    case = request.param
    samples = features(1, case["n"], case["d"], case["shift"], case["scale"])
    return case, samples, features(2, case["n"], case["d"], 0.0, 1.0)


def test_frechet_agrees(golden):
    """The last case has fewer points than values: there a root of the product is least certain elsewhere."""
    case, samples, real = golden
    assert frechet(samples, real) == pytest.approx(case["frechet"], rel=1e-6)
    assert frechet_from_moments(gather_moments([samples]), gather_moments([real])) == pytest.approx(
        case["frechet"], rel=1e-6
    )


def test_kid_and_mmd2_agree(golden):
    case, samples, real = golden
    assert kid(samples, real) == pytest.approx(case["kid"], rel=1e-9)
    assert mmd2(samples, real, 3.0) == pytest.approx(case["mmd2_sigma_3"], rel=1e-9)


def test_kid_agrees_on_the_same_subsets(golden):
    case, samples, real = golden
    rng, n = np.random.RandomState(2020), case["n"]
    values = [kid(*(part[rng.choice(n, 50, replace=False)] for part in (samples, real))) for _ in range(20)]
    assert np.mean(values) == pytest.approx(case["kid_of_20_subsets_of_50"], rel=1e-9)


@pytest.mark.parametrize("k", [3, 5])
def test_coverage_agrees(golden, k):
    case, samples, real = golden
    assert coverage_scores(samples, real, k)._asdict() == pytest.approx(case["prdc"][str(k)], abs=1e-12)
