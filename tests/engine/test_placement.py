"""Cores and graphics cards of a cluster shared out among tasks."""

from __future__ import annotations

import pytest

from elsewhere.engine import BadWorker, Choice, Needs
from elsewhere.engine.ray_cluster import Share, share_out

CUDA, AUTO, CPU = Needs((), (), "cuda"), Needs((), (), "auto"), Needs()


@pytest.mark.parametrize(
    ("machines", "choice", "needs", "workers", "tasks", "expected"),
    [
        ([(16, 0)], Choice("ray"), CPU, None, 5, Share(3, 0.0, 5)),
        ([(16, 0)], Choice("ray"), CPU, 2, 5, Share(8, 0.0, 2)),
        ([(2, 0)], Choice("ray"), CPU, None, 100, Share(1, 0.0, 2)),
        (
            [(1, 0), (1, 0), (2, 0)],
            Choice("ray"),
            CPU,
            None,
            2,
            Share(1, 0.0, 2),
        ),  # 2 each: one alone
        ([(8, 0), (8, 0)], Choice("ray", cpus=3), CPU, None, 9, Share(3, 0.0, 4)),
        ([(1, 0), (1, 0), (2, 1)], Choice("ray"), CUDA, None, 2, Share(2, 1.0, 1)),
        ([(1, 0), (1, 0), (2, 1)], Choice("ray", tasks_per_gpu=2), CUDA, None, 2, Share(1, 0.5, 2)),
        ([(64, 4)], Choice("ray"), CUDA, None, 9, Share(16, 1.0, 4)),
        ([(64, 4)], Choice("ray", tasks_per_gpu=49), CUDA, None, 1000, Share(1, 1 / 49, 64)),
        ([(64, 4)], Choice("ray", tasks_per_gpu=3), Needs((), (), "cuda", 2), None, 9, Share(32, 2.0, 2)),
        ([(64, 4), (64, 0)], Choice("ray"), AUTO, None, 9, Share(16, 1.0, 4)),
        ([(64, 0)], Choice("ray"), AUTO, None, 9, Share(7, 0.0, 9)),
    ],
)
def test_what_each_task_gets(
    machines: list[tuple[int, int]], choice: Choice, needs: Needs, workers: int | None, tasks: int, expected: Share
) -> None:
    found = share_out(machines, choice, needs, workers, tasks)
    assert found == expected
    assert expected.room * expected.cpus <= sum(cores for cores, _ in machines)


@pytest.mark.parametrize(
    ("machines", "choice", "needs", "said"),
    [
        ([(8, 0)], Choice("ray"), CUDA, "has 1 CPU cores and 1 GPUs for a task"),
        ([(8, 1), (8, 1)], Choice("ray"), Needs((), (), "cuda", 2), "and 2 GPUs for a task"),
        ([(8, 0)], Choice("ray", cpus=9), CPU, "has 9 CPU cores and 0 GPUs for a task"),
        ([], Choice("ray"), CPU, "no machine of the cluster"),
    ],
)
def test_more_than_any_machine_has_is_an_error(
    machines: list[tuple[int, int]], choice: Choice, needs: Needs, said: str
) -> None:
    with pytest.raises(BadWorker, match=said):
        share_out(machines, choice, needs, None, 3)
