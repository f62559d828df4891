"""Timelines as runs leave them, with made-up times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rzero_mega.run.timeline import DRAWING, PHASES, Devices, Drawn, Span

SLOTS = 64
BEGAN = 1_800_000_000.0
PHASE_S = 100.0
COLOCATED = Devices(gpus=4, gpus_per_node=2, learner=4)
SPLIT = Devices(gpus=4, gpus_per_node=2, learner=2)
ON_CPUS = Devices(0, 0, 0)


def drawing(server: str, gpu: int, began: float, seconds: float, slots: float, tokens: int = 1000) -> Span:
    """A server of one GPU, of which `slots` slots were taken in the mean; `began` counts from BEGAN."""
    node, first_gpu = divmod(gpu, 2)
    counts = Drawn(10, tokens, SLOTS, slots * seconds, node, first_gpu, 1).as_counts()
    return Span(server, DRAWING, BEGAN + began, seconds, counts)


def on_main(name: str, began: float, seconds: float, **counts: float) -> Span:
    """On the first rank's main thread."""
    return Span("main", name, BEGAN + began, seconds, counts)


def training_phase(name: str, began: float, devices: Devices, servers: Sequence[int]) -> Iterator[Span]:
    """A phase of PHASE_S whose servers draw for 30 s and whose learner trains for 40 s; `servers` are their GPUs."""
    role = name.partition(" ")[0]
    counts = devices.as_counts()
    yield Span(PHASES, name, BEGAN + began, 0.0, counts)
    yield on_main("start learner", began, 3.0)
    yield on_main("start servers", began + 3, 5.0)
    yield on_main("park", began + 8, 1.0)
    for number, gpu in enumerate(servers):
        yield drawing(f"{role}-{number}", gpu, began + 10, 20.0, SLOTS, 20_000)
        yield drawing(f"{role}-{number}", gpu, began + 30, 10.0, SLOTS / 2, 10_000)
    yield on_main("train", began + 45, 40.0)
    yield on_main("park", began + 85.5, 1.5)
    yield on_main("send weights", began + 87, 4.0, verify_seconds=1.0)
    yield on_main("update", began + 85, 6.5)
    yield on_main("probe", began + 92, 2.0)
    yield on_main("checkpoint", began + 94, 4.0)
    yield Span(PHASES, name, BEGAN + began, PHASE_S, counts)
