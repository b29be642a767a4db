"""The prediction interval for a new site: by hand, and how often it holds where sites are drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from elsewhere.evidence.random_effects import predict_new_site


def test_by_hand() -> None:
    effects = np.array([-0.5, 0.1, 0.3, 0.9, 1.2])
    found = predict_new_site(effects, [0.05] * 5, 0.05)
    assert (found.mean, found.freedom) == (pytest.approx(0.4), 4)
    assert found.half_width == pytest.approx(t.ppf(0.975, 4) * np.sqrt(effects.var(ddof=1) * 1.2))


def test_only_a_new_site_measured_worse_than_the_known_ones_widens_it() -> None:
    better, same, worse = (predict_new_site([0.1, 0.4, 0.2], [0.1] * 3, own).half_width for own in (0.0, 0.1, 0.5))
    assert better == same < worse


@pytest.mark.parametrize("sites", [3, 5])
@pytest.mark.parametrize("between", [0.1, 0.4])
def test_it_holds_a_new_site_in_95_percent(sites: int, between: float) -> None:
    random, held = np.random.default_rng([3, sites]), 0
    for _ in range(2000):
        true = random.normal(0.3, between, sites + 1)
        seen = true[:-1] + random.normal(0, 0.2, sites)
        known_of_new = true[-1] + random.normal(0, 0.1)
        found = predict_new_site(seen, [0.04] * sites, 0.01)
        held += abs(known_of_new - found.mean) <= found.half_width
    assert held / 2000 > 0.935


def test_what_it_refuses() -> None:
    with pytest.raises(ValueError, match="two or more sites"):
        predict_new_site([0.1], [0.1], 0.1)
    with pytest.raises(ValueError, match="0 or above"):
        predict_new_site([0.1, 0.2], [0.1, -0.1], 0.1)
