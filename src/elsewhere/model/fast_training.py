"""A level's maps and parameters in, its pooled maps out, with gradients; full-size maps are never held whole.

Small levels keep what their two convolutions give for the way back. A large first level keeps only statistics and the
place of each pool's maximum, and computes both convolutions again, a slab of slices at a time:

* Only pools' maxima carry a gradient into GroupNorm 2, so its sums need no sweep.
* The gradient of the first convolution's weights is linear in the two means that GroupNorm 1 subtracts from its own
  gradient, so one sweep gathers all three parts of it together with those means.

Sums are taken in a fixed order, in float64 between rows or slabs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from elsewhere.model import training_kernel, training_operations
from elsewhere.model.dropblock import DropBlock
from elsewhere.model.dropped_blocks import Blocks
from elsewhere.model.mixstyle import Mix, mix_styles
from elsewhere.model.network import Network, max_pool
from elsewhere.model.training_operations import NOTHING, TOUCHED, Line, Maps, Run, Size

KERNEL = (3, 3, 3)
SLICES = 8
"""Of a slab, about, in whole pools: at full size 0.3 GB are held, and a quarter of the work is done twice."""

LARGE = 1 << 24
"""Values of one sample's first-level map from which it is streamed; below, what is held is under 0.2 GB a sample."""


NARROW = 16
"""Columns below which torch's own convolutions are as quick."""


class Parameters(NamedTuple):
    """Parameters of a level, each (first, second) convolution's."""

    weights: tuple[Tensor, Tensor]
    biases: tuple[Tensor, Tensor]
    scales: tuple[Tensor, Tensor]
    shifts: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, flat: Sequence[Tensor]) -> Parameters:
        """From the flat order in which autograd passes them."""
        return cls(*((flat[i], flat[i + 1]) for i in range(0, 8, 2)))


@dataclass(frozen=True)
class Drops:
    """What DropBlock drops after one GroupNorm: blocks by sample, and the factor of what is kept, (sample,)."""

    blocks: tuple[Blocks, ...] | None
    kept: Tensor


@dataclass(frozen=True)
class Norm:
    """One GroupNorm of one input: its statistics, in float64, (sample, filter), and its parameters."""

    mean: Tensor
    rate: Tensor
    scale: Tensor
    shift: Tensor
    groups: int
    voxels: int

    @classmethod
    def of(cls, sums: Tensor, voxels: int, norm: nn.GroupNorm, scale: Tensor, shift: Tensor) -> Norm:
        """From sums and sums of squares, (sample, filter, 2), of `voxels` values each."""
        filters = sums.shape[1] // norm.num_groups
        mean, square = (sums.unflatten(1, (norm.num_groups, filters)).sum(2) / (voxels * filters)).unbind(-1)
        rate = 1 / (square - mean**2).clamp_min(0).add(norm.eps).sqrt()
        mean, rate = (value.repeat_interleave(filters, 1) for value in (mean, rate))
        return cls(mean, rate, scale.double(), shift.double(), norm.num_groups, voxels)

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """Scale and shift that it comes to, (sample, filter)."""
        scale = self.scale * self.rate
        return scale, self.shift - self.mean * scale

    def backward(self, gradient: Tensor, product: Tensor) -> tuple[Line, Tensor, Tensor]:
        """How a gradient passes, and that of the parameters.

        Args:
            gradient: sum of the gradient that comes in, (sample, filter), in float64.
            product: sum of gradient · value, likewise.

        Returns:
            (gain, base, slope), (sample, filter), so that the gradient that leaves is gain · gradient + base +
            slope · value; gradients of scale and of shift.
        """
        normal = self.rate * (product - self.mean * gradient)
        first, second = (self._mean(self.scale * sums) for sums in (gradient, normal))
        slope = -second * self.rate**2
        line = self.scale * self.rate, -first * self.rate - slope * self.mean, slope
        return line, normal.sum(0), gradient.sum(0)

    def _mean(self, sums: Tensor) -> Tensor:
        filters = sums.shape[1] // self.groups
        mean = sums.unflatten(1, (self.groups, filters)).sum(2) / (self.voxels * filters)
        return mean.repeat_interleave(filters, 1)


@dataclass(frozen=True)
class Way:
    """How one level is computed: modules, pool, dropped blocks, and through which operations."""

    norms: tuple[nn.GroupNorm, nn.GroupNorm]
    size: Size
    drops: tuple[Drops, Drops]
    through: ModuleType
    streamed: bool

    def alone(self, sample: int) -> Way:
        """The same for one sample."""
        one = slice(sample, sample + 1)
        drops = [Drops(drop.blocks and drop.blocks[one], drop.kept[one]) for drop in self.drops]
        return replace(self, drops=(drops[0], drops[1]))


class Trained(nn.Module):
    """A network in training: `Network.forward`, with its levels computed here where that pays."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.mix: Mix | None = None
        """What MixStyle mixes after the first level in the next batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits (batch, classes) of inputs (batch, 1, slices, rows, columns)."""
        network, maps = self.network, inputs
        if not len(network.levels):  # a network of MONAI: by PyTorch's own operations
            return network.head(network.trunk(inputs))
        for index in range(len(network.levels)):
            if takes(network, index, maps):
                maps = run(network, index, maps)
            else:
                maps = network.level1(maps) if index == 0 else _plainly(network, index, maps)
            if index == 0 and self.mix is not None:
                maps = mix_styles(maps, self.mix)
        logits: Tensor = network.head(maps.flatten(1))
        return logits


def _plainly(network: Network, index: int, maps: Tensor) -> Tensor:
    maps, pools = network.levels[index](maps), network.settings.pools
    return maps if index == len(pools) else max_pool(maps, pools[index])


def takes(network: Network, index: int, maps: Tensor) -> bool:
    """Whether `run` computes level `index` in training on these maps, and pays.

    3×3×3 convolutions, filters in blocks of 8 and pools of at most 4×4×4, on the processor, in float32, through the
    compiled kernel. Without the kernel, and in float64, only a first level that is too large to be held.
    """
    settings, shape = network.settings, (network.settings.filters[index], *maps.shape[2:])
    if maps.device.type != "cpu" or torch.is_autocast_enabled("cpu") or settings.kernels[index] != KERNEL:
        return False
    if settings.input != tuple(maps.shape[2:]) and index == 0:
        return False  # the network says what is wrong
    size = (*settings.pools, (1, 1, 1))[index]
    large = index == 0 and math.prod(shape) >= LARGE
    if max(size) > 4 or not (large or _compiled(maps)):
        return False
    back = index > 0 or maps.requires_grad  # then the input's channels are filters too, on the way back
    blocks = settings.filters[index] % 8 == 0 and not (back and maps.shape[1] % 8)
    return blocks and (large or maps.shape[4] >= NARROW)


def run(network: Network, index: int, maps: Tensor) -> Tensor:
    """Level `index` of a network in training, pooled, from its input maps; `takes` says which levels it may be."""
    level, pools = network.levels[index], network.settings.pools
    pooled = (*pools, (1, 1, 1))[index]
    depth, height, width = (1 if edge == 1 else by for edge, by in zip(maps.shape[2:], pooled, strict=True))
    shape = network.settings.filters[index], *maps.shape[2:]
    (drop,) = (module for module in level.modules() if isinstance(module, DropBlock))
    through = training_kernel if _compiled(maps) else training_operations
    draws = [_draw(drop, shape, maps, through) for _ in range(2)]
    norms = [module for module in level.modules() if isinstance(module, nn.GroupNorm)]
    convs = [module for module in level.modules() if isinstance(module, nn.Conv3d)]
    streamed = index == 0 and not maps.requires_grad and math.prod(shape) >= LARGE
    way = Way((norms[0], norms[1]), (depth, height, width), (draws[0], draws[1]), through, streamed)
    flat = [getattr(module, name) for modules in (convs, norms) for name in ("weight", "bias") for module in modules]
    result: Tensor = _Level.apply(maps.contiguous(), way, *flat)
    return result


def _compiled(maps: Tensor) -> bool:
    return training_kernel.library() is not None and maps.dtype == torch.float32


def _draw(drop: DropBlock, shape: Sequence[int], maps: Tensor, through: ModuleType) -> Drops:
    """What `DropBlock.forward` draws for these maps, and its factors."""
    if drop.share == 0:
        return Drops(None, torch.ones(len(maps), dtype=torch.float64))
    blocks = tuple(Blocks.draw(shape, drop.share, drop.size) for _ in maps)
    count = training_kernel.count if through is training_kernel else Blocks.count
    kept = 1 - torch.tensor([count(one) for one in blocks], dtype=torch.float64) / math.prod(shape)
    return Drops(blocks, torch.where(kept > 0, 1 / kept, 0.0))


class _Level(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, maps: Tensor, way: Way, *flat: Tensor) -> Tensor:
        parts = [maps[n : n + 1] for n in range(len(maps))] if way.streamed else [maps]
        ways = [way.alone(n) for n in range(len(maps))] if way.streamed else [way]
        ctx.passes = [_Pass(part, one, Parameters.of(flat)) for part, one in zip(parts, ways, strict=True)]
        ctx.save_for_backward(maps, *flat)  # raises where one was changed in between
        pooled = [one.forward() for one in ctx.passes]
        return torch.cat(pooled) if way.streamed else pooled[0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        passes, ctx.passes = ctx.passes, None
        if passes is None:
            raise RuntimeError("a level in training cannot go back a second time: gradients took the place of its maps")
        _, *flat = ctx.saved_tensors
        parts = [
            one.backward(part, further=ctx.needs_input_grad[0])
            for one, part in zip(passes, gradient.split(len(gradient) // len(passes)), strict=True)
        ]
        into = torch.cat([part[0] for part in parts]) if ctx.needs_input_grad[0] else None
        sums = (sum(values) for values in zip(*(part[1] for part in parts), strict=True))
        return into, None, *(value.to(one.dtype) for value, one in zip(sums, flat, strict=True))


class _Pass:
    """One input (or one batch of small ones) on its way forward and back."""

    def __init__(self, maps: Tensor, way: Way, parameters: Parameters) -> None:
        self._way, self._through, self._parameters = way, way.through, parameters
        self._input, self._slices = Maps(maps), maps.shape[2]
        self._shape = (len(maps), len(parameters.biases[0]), *maps.shape[2:])
        depth = way.size[0] * max(1, SLICES // way.size[0]) if way.streamed else self._slices
        self._slabs = [(first, min(first + depth, self._slices)) for first in range(0, self._slices, depth)]
        self._norms: list[Norm] = []
        self._memory: dict[str, Tensor] = {}

    def forward(self) -> Tensor:
        """The pooled maps."""
        way, like = self._way, self._input.data
        self._sums = torch.stack([self._first(slab)[1] for slab in self._slabs]).sum(0)
        self._norms.append(self._norm(0, self._sums))
        sign = torch.where(self._parameters.scales[1] < 0, -1, 1).to(like.dtype)
        pools = [edge // by for edge, by in zip(self._shape[2:], way.size, strict=True)]
        self._best = like.new_empty(*self._shape[:2], *pools)
        self._index = torch.empty_like(self._best, dtype=torch.uint8)
        sums = torch.zeros_like(self._sums)
        for slab in self._slabs:
            hidden = self._first(slab, 1)[0] if way.streamed else self._held("first")
            second, some = self._second(hidden, slab)
            sums += some
            self._through.pool(self._dropped(second, 1), slab, way.size, sign, (self._best, self._index))
        self._norms.append(self._norm(1, sums))
        self._best *= sign[:, None, None, None]
        pooled, self._live = _finish(self._norms[1], self._best, self._index, way.drops[1])
        if way.streamed:
            self._memory.clear()
        return pooled

    def backward(self, gradient: Tensor, *, further: bool) -> tuple[Tensor | None, list[Tensor]]:
        """Gradients of the input, where it goes further, and of the eight parameters, in float64."""
        gradient = (gradient * self._live).contiguous()
        exact = gradient.double()
        line, scale, shift = self._norms[1].backward(exact.sum((2, 3, 4)), (exact * self._best).sum((2, 3, 4)))
        weights, bias, turned = [], [], _turned(self._parameters.weights[1])
        leave = _Gathered(self) if self._way.streamed else _Held(self, further=further)
        for slab in self._slabs:
            hidden, rectified = self._rectified(slab)
            reach = begin, _ = rectified.origin, rectified.origin + rectified.data.shape[2]
            sums = self._through.unpool(rectified, reach, self._way.size, (gradient, self._index), line)
            bias.append(sums[slab[0] - begin : slab[1] - begin].sum((0, 1)))
            weights.append(self._through.weigh(self._normalised(hidden), rectified, slab))
            into = self._buffer("into", slab)
            self._through.convolve(rectified, turned, None, slab, into, rectify=False)
            leave.take(hidden, into, slab)
        first_weights, first_bias, first_scale, first_shift = leave.parameters()
        found = [first_weights, sum(weights), first_bias, sum(bias), first_scale, scale, first_shift, shift]
        return leave.further, found

    def _rectified(self, slab: Run) -> tuple[Maps, Maps]:
        """Both rectified convolutions, as far as a slab's gradients reach: computed again, or as they were held."""
        if not self._way.streamed:
            return self._held("first"), self._held("second")
        hidden = self._first(slab, 2)[0]
        return hidden, self._second(hidden, slab, 1)[0]

    def _first(self, slab: Run, margin: int = 0) -> tuple[Maps, Tensor]:
        """The first convolution of a slab and slices beside it, rectified; its sums."""
        reach, parameters = self._reach(slab, margin), self._parameters
        weights, bias, out = parameters.weights[0], parameters.biases[0], self._buffer("first", reach)
        return out, self._through.convolve(self._input, weights, bias, reach, out, rectify=True)

    def _second(self, hidden: Maps, slab: Run, margin: int = 0) -> tuple[Maps, Tensor]:
        """The same of the second convolution."""
        reach, parameters = self._reach(slab, margin), self._parameters
        weights, bias, out = parameters.weights[1], parameters.biases[1], self._buffer("second", reach)
        return out, self._through.convolve(self._normalised(hidden), weights, bias, reach, out, rectify=True)

    def _reach(self, slab: Run, margin: int) -> Run:
        return max(slab[0] - margin, 0), min(slab[1] + margin, self._slices)

    def _normalised(self, hidden: Maps) -> Maps:
        """The first convolution as the second one reads it: normalised, blocks dropped."""
        scale, shift = (part * self._way.drops[0].kept[:, None] for part in self._norms[0].affine)
        return self._dropped(replace(hidden, scale=scale, shift=shift), 0)

    def _dropped(self, maps: Maps, layer: int) -> Maps:
        return replace(maps, blocks=self._way.drops[layer].blocks)

    def _norm(self, layer: int, sums: Tensor) -> Norm:
        scale, shift = (part[layer].detach() for part in (self._parameters.scales, self._parameters.shifts))
        return Norm.of(sums, math.prod(self._shape[2:]), self._way.norms[layer], scale, shift)

    def _buffer(self, name: str, run: Run) -> Maps:
        """Room for slices of a map; the same memory at every call."""
        samples, filters, _, rows, columns = self._shape
        if name not in self._memory:
            most = min(self._slabs[0][1] + 4, self._slices)
            self._memory[name] = self._input.data.new_empty(samples * filters * most * rows * columns)
        size = samples, filters, run[1] - run[0], rows, columns
        return Maps(self._memory[name][: math.prod(size)].view(size), run[0])

    def _held(self, name: str) -> Maps:
        assert name in self._memory
        return self._buffer(name, (0, self._slices))


class _Held:
    """The way back through the first convolution of a level that is held whole."""

    def __init__(self, given: _Pass, *, further: bool) -> None:
        self._pass, self._goes_further = given, further
        self.further: Tensor | None = None

    def take(self, hidden: Maps, into: Maps, slab: Run) -> None:
        given, through, drops = self._pass, self._pass._through, self._pass._way.drops[0]
        sums = through.gate(given._dropped(into, 0), hidden, slab, drops.kept, None)
        line, *self._affine = given._norms[0].backward(sums[..., 0], sums[..., 1])
        self._bias = through.gate(into, hidden, slab, torch.ones_like(drops.kept), line)[..., 2].sum(0)
        self._weights = through.weigh(given._input, into, slab)
        if self._goes_further:
            self.further = torch.empty_like(given._input.data)
            turned = _turned(given._parameters.weights[0])
            through.convolve(into, turned, None, slab, Maps(self.further), rectify=False)

    def parameters(self) -> list[Tensor]:
        return [self._weights, self._bias, *self._affine]


class _Gathered:
    """The same in one sweep of slabs: the three parts that the gradients are linear in, summed first."""

    further = None

    def __init__(self, given: _Pass) -> None:
        self._pass = given
        self._sums: list[Tensor] = []
        self._weights: list[Tensor] = []

    def take(self, hidden: Maps, into: Maps, slab: Run) -> None:
        given, through, drops = self._pass, self._pass._through, self._pass._way.drops[0]
        one, zero = torch.ones_like(given._sums[..., 0]), torch.zeros_like(given._sums[..., 0])
        dropped = given._dropped(into, 0)
        self._sums.append(through.gate(dropped, hidden, slab, drops.kept, (one, zero, zero)))
        parts = into, replace(hidden, step=True), hidden
        self._weights.append(torch.stack([through.weigh(given._input, part, slab) for part in parts]))

    def parameters(self) -> list[Tensor]:
        given = self._pass
        gradient, product, gated, above = torch.stack(self._sums).sum(0).unbind(-1)
        line, scale, shift = given._norms[0].backward(gradient, product)
        weights = torch.stack(self._weights).sum(0)
        biases = gated, above, given._sums[..., 0]
        weight = sum(part[0][:, None, None, None, None] * of for part, of in zip(line, weights, strict=True))
        bias = sum((part * of).sum(0) for part, of in zip(line, biases, strict=True))
        return [weight, bias, scale, shift]


def _turned(weights: Tensor) -> Tensor:
    """Weights of the convolution that carries gradients back."""
    return weights.detach().flip(2, 3, 4).transpose(0, 1).contiguous()


def _finish(norm: Norm, best: Tensor, index: Tensor, drops: Drops) -> tuple[Tensor, Tensor]:
    """GroupNorm and DropBlock of pools' maxima, and the factor of each pool's gradient."""
    scale, shift, kept = (part.to(best.dtype)[..., None, None, None] for part in (*norm.affine, drops.kept[:, None]))
    pooled = (best * scale).add_(shift).mul_(kept)
    if drops.blocks is None:
        return pooled, kept
    gone = (index & NOTHING != 0) | (index & TOUCHED != 0) & (pooled <= 0)
    return pooled.masked_fill_(gone, 0), kept.expand_as(pooled).masked_fill(gone, 0)
