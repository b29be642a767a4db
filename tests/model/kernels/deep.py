"""A small network whose second level goes through its kernel."""

from elsewhere.model.network import NetworkSettings

DEEP = NetworkSettings(
    input=(24, 64, 128),
    filters=(8, 16, 8),
    kernels=((3, 3, 3), (5, 5, 5), (1, 3, 3)),
    pools=((4, 4, 4), (2, 4, 4)),
    dense=(64,),
    dense_groups=4,
)
