"""A network as it was before it went on learning: what it says of the new inputs is held on to (distillation)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from elsewhere.model.network import Network
from elsewhere.model.prediction import trunk_of
from elsewhere.model.start import Start


class Teacher:
    """The network that a training starts from; it does not change.

    Args:
        network: with any weights, on the device of the training; it is given those of the start, without dropout.
        start: of the training.
    """

    def __init__(self, network: Network, start: Start) -> None:
        self._start = start
        network.load_state_dict(dict(start.weights))
        self._network = network.eval().requires_grad_(requires_grad=False)

    def loss(self, logits: Tensor, inputs: Tensor) -> Tensor:
        """Distance of the logits (batch, classes) of a network in training from what the teacher says.

        Args:
            logits: with dropout, as the training has them.
            inputs: that they are of: (batch, 1, slices, rows, columns), or features (batch, flat).
        """
        network = self._network
        with torch.no_grad():
            said = network.head(inputs if inputs.ndim == 2 else trunk_of(network, inputs))
        return self._start.distil * distance(logits, said, self._start.temperature)


def distance(logits: Tensor, said: Tensor, temperature: float) -> Tensor:
    """T² · KL(softmax(said / T) ‖ softmax(logits / T)), a mean over the batch, in nats (Hinton et al. 2015).

    Args:
        logits: (batch, classes).
        said: of the teacher (batch, classes).
        temperature: T, above 0.

    >>> same = torch.tensor([[1.0, 3.0]])
    >>> float(distance(same, same, 2.0)), float(distance(same, same + 7.0, 2.0))
    (0.0, 0.0)
    """
    softened, wanted = (F.log_softmax(one.float() / temperature, dim=1) for one in (logits, said))
    return temperature**2 * F.kl_div(softened, wanted, reduction="batchmean", log_target=True)
