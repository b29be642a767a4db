"""Stored voxels, or a first level's maps, on a graphics card in; the network's input, or the pooled maps, out.

What costs time there is moving bytes: a full-size first-level map takes 0.5 GiB even in bfloat16. So ReLU, GroupNorm,
DropBlock and the conversion stand in one function, which `torch.compile` turns into a few passes over the maps; the
same function uncompiled is the fallback, and the plain module is the reference of both (tests/model/test_device.py).
Everything here also runs on the processor, where its tests hold it to the plain path.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from elsewhere.model.dropblock import DropBlock, draw_blocks
from elsewhere.model.network import Network, Size
from elsewhere.model.sample import Plan, SampleSettings, choose_grey, padding_value

Finish = Callable[..., Tensor]


def carry_out(voxels: Tensor, plan: Plan, settings: SampleSettings, extrema: tuple[int, int], slices: int) -> Tensor:
    """`sample.apply_plan` where the voxels lie: the same plan, the same bytes.

    Args:
        voxels: the plan's slices, int16 or uint8 [slice, row, column].
        plan: the choices.
        settings: normalisation and padding.
        extrema: minimum and maximum of the whole stored volume; not read where `settings.extrema` is "window".
        slices: slices of the network's input.

    Returns:
        float32 [slices, row, column] on the same device.
    """
    if settings.extrema == "window":
        extrema = int(voxels.min()), int(voxels.max())
    grey = choose_grey(plan, settings, extrema, padded=plan.count < slices)
    axes = [axis for axis, flipped in enumerate(plan.flip) if flipped]
    turned = voxels.flip(axes) if axes else voxels
    turned = turned.transpose(1, 2) if plan.transpose else turned
    turned = torch.rot90(turned, plan.turns, (1, 2))
    values = turned.to(torch.int32)  # 16 bits would not hold the differences
    if grey.clip:
        values = values.clamp(grey.lower, grey.upper)
    first = slices - plan.count - plan.top if plan.flip[0] else plan.top
    out = torch.full((slices, *values.shape[1:]), padding_value(settings, grey), device=voxels.device)
    torch.mul((values - grey.lower).float(), grey.factor, out=out[first : first + plan.count])
    return out


def finish(
    maps: Tensor, norm: tuple[Tensor, Tensor], dropped: Tensor | None, *, groups: int, eps: float, pool: Size | None
) -> Tensor:
    """What follows a convolution: ReLU, GroupNorm, DropBlock, and pooling where `pool` is given.

    Statistics are taken in float32 (float64 for float64 maps), whatever the maps' type.

    Args:
        maps: the convolution's output, (batch, channel, slice, row, column).
        norm: GroupNorm's scale and shift, (channel,).
        dropped: what DropBlock drops, bool, as `maps`; None drops nothing.
        groups: of GroupNorm.
        eps: of GroupNorm.
        pool: max pooling.
    """
    samples, channels = maps.shape[:2]
    wide = maps.relu().to(torch.promote_types(maps.dtype, torch.float32))
    variance, mean = torch.var_mean(wide.reshape(samples, groups, -1), dim=2, correction=0)
    rate, mean = (
        one[:, :, None].expand(-1, -1, channels // groups).reshape(samples, channels, 1, 1, 1)
        for one in ((variance + eps).rsqrt(), mean)
    )
    scale, shift = (one.to(wide.dtype).view(1, channels, 1, 1, 1) for one in norm)
    wide = (wide - mean) * (rate * scale) + shift
    if dropped is not None:
        kept = 1 - dropped.flatten(1).sum(1, dtype=torch.float64) / dropped[0].numel()
        factor = torch.where(kept > 0, 1 / kept, 0.0).to(wide.dtype)
        wide = (wide * factor.view(-1, 1, 1, 1, 1)).masked_fill(dropped, 0)
    maps = wide.to(maps.dtype)
    return maps if pool is None else F.max_pool3d(maps, pool)


def fuse(network: Network) -> None:
    """Let a network that lies on a card compute its first level here, in training and in prediction, if it has one."""
    if not len(network.levels):
        return
    device = network.last.weight.device
    network.level1 = partial(level1, network, compiled(device))  # type: ignore[method-assign]


def level1(network: Network, through: Finish, inputs: Tensor) -> Tensor:
    """`Network.level1`, what follows each convolution in one call of `through`."""
    settings = network.settings
    if tuple(inputs.shape[1:]) != (1, *settings.input):
        return Network.level1(network, inputs)  # it says what is wrong
    modules = list(network.levels[0].modules())
    convs = [module for module in modules if isinstance(module, nn.Conv3d)]
    norms = [module for module in modules if isinstance(module, nn.GroupNorm)]
    (drop,) = (module for module in modules if isinstance(module, DropBlock))
    maps = inputs
    for conv, norm, pool in zip(convs, norms, (None, _pool(settings.input, settings.pools)), strict=True):
        maps = conv(maps)
        affine = norm.weight, norm.bias
        maps = through(maps, affine, _draw(drop, maps), groups=norm.num_groups, eps=norm.eps, pool=pool)
    return maps


def _pool(size: Size, pools: tuple[Size, ...]) -> Size | None:
    """The pooling after the first level; an axis of one stays."""
    if not pools:
        return None
    slices, rows, columns = (1 if edge == 1 else by for edge, by in zip(size, pools[0], strict=True))
    return slices, rows, columns


def _draw(drop: DropBlock, maps: Tensor) -> Tensor | None:
    """What `DropBlock.forward` drops of these maps."""
    if not drop.training or drop.share == 0:
        return None
    return torch.stack([draw_blocks(one.shape, drop.share, drop.size, maps.device) for one in maps])


@functools.cache
def compiled(device: torch.device) -> Finish:
    """`finish` through torch.compile on a card that has what it takes; `finish` itself elsewhere, said once."""
    if device.type != "cuda":
        return finish
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's remarks on its own parts
            quick: Finish = torch.compile(finish, dynamic=False)
            _try(quick, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a missing compiler, an old card, a driver that does not fit: all end the same way
        reason = (str(error).splitlines() or [""])[0][:200]
        logging.getLogger(__name__).warning(
            "torch.compile does not work on %s (%s: %s): training and prediction run uncompiled, with the same "
            "results but slower",
            torch.cuda.get_device_name(device),
            type(error).__name__,
            reason,
        )
        return finish
    return quick


def _try(through: Finish, device: torch.device) -> None:
    """One small pass there and back, before a training relies on it."""
    maps = torch.rand(1, 8, 4, 8, 8, device=device, requires_grad=True)
    affine = torch.ones(8, device=device, requires_grad=True), torch.zeros(8, device=device, requires_grad=True)
    dropped = torch.zeros(maps.shape, dtype=torch.bool, device=device)
    through(maps, affine, dropped, groups=8, eps=1e-5, pool=(2, 2, 2)).sum().backward()


def device_of(accelerator: str) -> str:
    """The device to predict on: CUDA where it is wanted ("auto", "cuda") and there."""
    return "cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu"
