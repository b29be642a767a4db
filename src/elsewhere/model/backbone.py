"""A network that is not the paper's behind the paper's face: trunk, last layer and all; no fast kernels, no levels."""

from __future__ import annotations

import math
import warnings
from typing import cast

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy

from elsewhere.errors import BadInstallation, BadStudy
from elsewhere.memory import LARGEST_SMALL, keep_freed_memory
from elsewhere.model.network import Network
from elsewhere.model.network_settings import PAPER, NetworkSettings, check_batch
from elsewhere.model.own_code import make_own
from elsewhere.model.pretrained import Pretrained

INSTALL = "Install the extra: pip install 'elsewhere[monai]'"
LAST = "Let its last step be a torch.nn.Linear that gives one logit for each of network.classes"


class Backbone(Network):
    """A network of MONAI, or of the user's own, that is trained, predicted and kept as the paper's is.

    Its last linear layer is the classifier; what that layer gets are the features. Dropout stands before it.

    Args:
        settings: with its kind.

    Raises:
        BadInstallation: MONAI is not installed.
        BadStudy: a class of the user's own cannot be made, may not be run, or is not what can be trained here.
    """

    def __init__(self, settings: NetworkSettings) -> None:
        nn.Module.__init__(self)
        if math.prod(settings.input) <= LARGEST_SMALL:
            keep_freed_memory()
        self.settings = settings
        self.inner = _own(settings) if settings.is_own else _of_monai(settings)
        name, self.last = _last_layer(self.inner, settings)
        parent, _, leaf = name.rpartition(".")
        self._place = _Place()
        setattr(self.inner.get_submodule(parent), leaf, self._place)
        self.dropout = nn.Dropout(settings.dropout)
        self.levels = nn.ModuleList()

    def trunk(self, inputs: Tensor) -> Tensor:
        """Features (batch, width of the last layer) of inputs (batch, 1, slices, rows, columns).

        Raises:
            BadStudy: what the network gives is not what its last linear layer gives.
        """
        self.check_size(inputs)
        given = self.inner(inputs)
        features, self._place.seen = self._place.seen, None
        if features is None or given is not features or features.shape != (len(inputs), self.last.in_features):
            what = f"is {self.settings.kind!r}, which does more after its last linear layer, or does not end in it"
            raise BadStudy("network.kind", what, LAST)
        return features

    def penultimate(self, features: Tensor) -> Tensor:
        """What the last layer sees."""
        dropped: Tensor = self.dropout(features)
        return dropped


class _Place(nn.Module):
    """Where the last layer stood: gives what it gets, and keeps it to be compared with what the network gives."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        self.seen = features
        return features


def make_network(settings: NetworkSettings, batch: int = 0) -> Network:
    """The paper's network, or the one that the settings name; weights are drawn from torch's generator.

    Args:
        settings: of the network.
        batch: scans in a batch of one device, where it is to be trained; else 0.

    Raises:
        BadInstallation: MONAI is needed and not installed.
        BadStudy: a class of the user's own cannot be made, may not be run, or cannot be trained (with this batch).
    """
    if settings.kind == PAPER:
        return Network(settings)
    if settings.is_pretrained:
        return Pretrained(settings)
    made = Backbone(settings)
    if batch and any(isinstance(part, _BatchNorm) for part in made.modules()):
        check_batch(settings.kind, batch, 0)
    return made


def _last_layer(network: nn.Module, settings: NetworkSettings) -> tuple[str, nn.Linear]:
    """Name of the last linear layer, and the layer."""
    found = [(name, part) for name, part in network.named_modules() if isinstance(part, nn.Linear)]
    if not found or not found[-1][0] or found[-1][1].out_features != settings.classes:
        gives = f"{found[-1][1].out_features} numbers" if found else "nothing, as there is none"
        what = f"is {settings.kind!r}, whose last linear layer gives {gives}, and network.classes is {settings.classes}"
        raise BadStudy("network.kind", what, LAST)
    return found[-1]


def _own(settings: NetworkSettings) -> nn.Module:
    if not settings.allow_code:
        what = f"is {settings.kind!r}, a class of somebody's own, and there is no leave to run it"
        raise BadStudy("network.kind", what, "Set allow_code = true under [network] in the study file if you trust it")
    made = make_own(settings.kind, settings.folder, settings.arguments, ("network.kind", "network"))
    if not isinstance(made, nn.Module):
        what = f"is {settings.kind!r}, which gives {type(made).__name__}"
        raise BadStudy("network.kind", what, "Name a class, or a function, that gives a torch.nn.Module")
    state = made.state_dict(keep_vars=True)
    lazy = next((name for name, one in state.items() if is_lazy(one)), "")
    if lazy or len({id(one) for one in state.values()}) < len(state):
        what = f"leaves the size of {lazy} open" if lazy else "has one tensor under two names"
        raise BadStudy("network.kind", f"is {settings.kind!r}, which {what}", "Give every layer its own, of fixed size")
    return made


def _of_monai(settings: NetworkSettings) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI's remarks on packages that it does not find
            from monai.networks import nets  # noqa: PLC0415 - an extra, which takes seconds to import
    except ImportError as error:
        what = f"is {settings.kind!r}, which needs {error.name}, and that is not installed"
        raise BadInstallation("network.kind", what, INSTALL) from error
    if settings.kind.startswith("DenseNet"):
        made = getattr(nets, settings.kind)(spatial_dims=3, in_channels=1, out_channels=settings.classes)
    elif settings.kind.startswith("SE"):
        made = getattr(nets, settings.kind)(spatial_dims=3, in_channels=1, num_classes=settings.classes)
    else:
        name = settings.kind.lower()
        made = getattr(nets, name)(spatial_dims=3, n_input_channels=1, num_classes=settings.classes)
    return cast(nn.Module, made)
