"""An update of a role's servers, by the transport that the configuration means on GPUs: bytes by link, and seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rzero_mega.planning.parameters import rank_parameters
from rzero_mega.simulation.site import Site
from rzero_mega.weights.transports.choice import SyncFacts, choose, senders

# Bytes of a request for a byte of weights: base64.
BASE64 = 4 / 3


@dataclass(frozen=True)
class Link:
    """What an update moves over one kind of link, at the busiest of them; `rate` is its assumption's name."""

    name: str
    nbytes: float
    rate: str

    def seconds(self, site: Site) -> float:
        """By itself."""
        return self.nbytes / float(getattr(site.assumptions.costs, self.rate))


@dataclass(frozen=True)
class Sending:
    """Buckets pass `stages` one after the other; the links of a stage are at work at the same time."""

    transport: str
    stages: tuple[tuple[Link, ...], ...]
    senders: tuple[int, ...]
    """The ranks that have the whole stream and hand it out."""

    @property
    def links(self) -> tuple[Link, ...]:
        """All of them."""
        return tuple(link for stage in self.stages for link in stage)

    def seconds(self, site: Site) -> float:
        """Of the update, with what it takes besides moving bytes."""
        moved = sum(max(link.seconds(site) for link in stage) for stage in self.stages)
        return site.assumptions.costs.send_fixed_s + moved


def sending(site: Site) -> Sending:
    """How new weights, or adapters of those that are there, reach all servers of a role."""
    return _adapters(site) if site.sends_adapters else _whole(site)


def _adapters(site: Site) -> Sending:
    """All of them are gathered, and then in one request per server, whatever whole weights go by."""
    nbytes, sglang = site.sent_bytes, site.config.rollout.sglang
    held = site.element_bytes * site.trained_on(site.candidate.layout, 0)
    gathered = Link("to each sender", nbytes - held, "send_bytes_s")
    payloads = BASE64 * nbytes * sglang.tp * sglang.replicas
    requests = Link("in requests of the first rank", payloads, "request_bytes_s")
    return Sending("adapters", ((gathered,), (requests,)), (0,))


def _whole(site: Site) -> Sending:
    placement, weights, sglang = site.placement, site.weight_bytes, site.config.rollout.sglang
    same_host = all(place.node == 0 for place in placement.servers)
    facts = SyncFacts("cuda", "cuda", same_host, placement.shared_gpus)
    transport = choose(site.config.weights.sync, facts).name
    ranks = tuple(senders(transport, placement).values())
    # A sender gets what it doesn't hold itself, one bucket while it passes on the one before.
    gathered = Link("to each sender", weights - _held(site, ranks), "send_bytes_s")
    if transport == "disk":
        written = Link("to the file system", weights, "update_write_bytes_s")
        read = Link("from the file system, each node", weights, "update_read_bytes_s")
        return Sending(transport, ((gathered, written), (read,)), ranks)
    if transport == "tensor" and not facts.handles:
        payloads = BASE64 * weights * sglang.tp * sglang.replicas
        requests = Link("in requests of the first rank", payloads, "request_bytes_s")
        return Sending(transport, ((gathered, requests),), ranks)
    name = "from each sender, to every GPU of its servers"
    return Sending(transport, ((gathered, Link(name, weights, "send_bytes_s")),), ranks)


def next_model(site: Site) -> float:
    """Seconds until a role's servers that run have the model of an earlier phase: by broadcast, else they read it."""
    whole = _whole(site)
    if whole.transport == "collective":
        return whole.seconds(site)
    costs = site.assumptions.costs
    return costs.send_fixed_s + site.weight_bytes / costs.model_read_bytes_s


def _held(site: Site, senders: Sequence[int]) -> float:
    """Bytes of the model that a sender holds itself, one that has the least."""
    layout = site.candidate.layout
    stages = {rank // (layout.processes // layout.pp) for rank in senders}
    parameters = [rank_parameters(site.shape, layout, stage) for stage in stages]
    return float(site.element_bytes * min(held.dense + held.experts for held in parameters))
