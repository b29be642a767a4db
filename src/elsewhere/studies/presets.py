"""Networks by name for a study file's `[network] preset`, and pools that fit an input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elsewhere.model.network_settings import ENCODERS

NETWORKS: dict[str, dict[str, Any]] = {
    "small": {
        "input": (24, 32, 32),
        "filters": (8, 16, 32),
        "kernels": ((3, 3, 3),) * 3,
        "pools": ((2, 2, 2),) * 2,
        "dense": (64,),
        "dropblock": 0.0,
    },
    "medium": {"input": (64, 128, 128)},
    "paper": {"input": (128, 512, 512)},
}
"""small shows the whole path in minutes; medium trains in an hour without a GPU; paper is Nguyen et al. 2021's."""

Size = tuple[int, int, int]


def fitting_pools(size: Sequence[int], pools: Sequence[Size]) -> tuple[Size, ...]:
    """Pools that divide an input, as near as can be to those given: an axis is pooled by less, or left alone.

    Args:
        size: of the input, (slices, rows, columns).
        pools: wanted between the levels.

    Examples:
        >>> fitting_pools((24, 32, 32), ((4, 4, 4), (2, 4, 4)))
        ((4, 4, 4), (2, 4, 4))
        >>> fitting_pools((6, 32, 32), ((4, 4, 4), (2, 4, 4)))
        ((3, 4, 4), (2, 4, 4))
    """
    sizes, fitting = list(size), []
    for pool in pools:
        chosen = [_divisor(edge, by) for edge, by in zip(sizes, pool, strict=True)]
        sizes = [max(1, edge // by) for edge, by in zip(sizes, chosen, strict=True)]
        fitting.append((chosen[0], chosen[1], chosen[2]))
    return tuple(fitting)


def _divisor(edge: int, most: int) -> int:
    """The largest number up to `most` that divides an edge; an edge of 1 is left alone whatever the pool is."""
    return most if edge == 1 else next(n for n in range(most, 0, -1) if edge % n == 0)


def encoder_keys(network: object) -> dict[str, dict[str, object]]:
    """Section -> keys that fit the pretrained encoder that `[network]` of a study file names; empty without one.

    Scans are stretched to its input, whole and in HU: what lies beyond its window must still be there.

    Examples:
        >>> encoder_keys({"kind": "Astra"})["sample"]["window"]
        (-1000, 200)
        >>> encoder_keys({"kind": "paper"})
        {}
    """
    encoder = ENCODERS.get(str(network.get("kind"))) if isinstance(network, dict) else None
    if encoder is None:
        return {}
    low, high = encoder.window
    return {
        "network": {"input": encoder.input},
        "preparation": {
            "grid": "fixed",
            "encoding": "hu",
            "minimum": float(low),
            "maximum": float(high),
            "crop": "none",
        },
        "sample": {"normalisation": "window", "window": encoder.window},
    }


def network_keys(given: Mapping[str, Any], default_pools: Sequence[Size]) -> dict[str, Any]:
    """The keys of `[network]` with those of its preset filled in; pools fit where only `input` is given.

    Args:
        given: as in the study file; its preset, if any, is a key of NETWORKS.
        default_pools: of the network without any key.
    """
    keys = {**NETWORKS.get(str(given.get("preset")), {}), **{k: v for k, v in given.items() if k != "preset"}}
    size = keys.get("input")
    if not isinstance(size, list | tuple) or {"pools", "filters"} & keys.keys():
        return keys
    if len(size) == 3 and all(isinstance(n, int) and n > 0 for n in size):  # others are refused by the settings
        keys["pools"] = fitting_pools(size, default_pools)
    return keys
