"""An update of a role's servers, by the transport that the configuration means on GPUs: bytes by link, and seconds."""

from __future__ import annotations

from dataclasses import dataclass

from rzero_mega.simulation.site import Site
from rzero_mega.weights.transports.choice import SyncFacts, choose

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

    @property
    def links(self) -> tuple[Link, ...]:
        """All of them."""
        return tuple(link for stage in self.stages for link in stage)

    def seconds(self, site: Site) -> float:
        """Of the update, with what it takes besides moving bytes."""
        moved = sum(max(link.seconds(site) for link in stage) for stage in self.stages)
        return site.assumptions.costs.send_fixed_s + moved


def sending(site: Site) -> Sending:
    """How new weights reach all servers of a role."""
    placement, weights, sglang = site.placement, site.weight_bytes, site.config.rollout.sglang
    same_host = all(place.node == 0 for place in placement.servers)
    facts = SyncFacts("cuda", "cuda", same_host, placement.shared_gpus)
    transport = choose(site.config.weights.sync, facts).name
    # The first rank gets what it doesn't hold itself, one bucket while it passes on the one before.
    gathered = Link("to the first rank", weights * (1 - _held(site)), "send_bytes_s")
    if transport == "disk":
        written = Link("to the file system", weights, "update_write_bytes_s")
        read = Link("from the file system, each node", weights, "update_read_bytes_s")
        return Sending(transport, ((gathered, written), (read,)))
    if transport == "tensor" and not same_host:
        payloads = BASE64 * weights * sglang.tp * sglang.replicas
        requests = Link("in requests of the first rank", payloads, "request_bytes_s")
        return Sending(transport, ((gathered, requests),))
    name = "from the first rank, to every GPU of servers"
    return Sending(transport, ((gathered, Link(name, weights, "send_bytes_s")),))


def next_model(site: Site) -> float:
    """Seconds until a role's servers that run have the model of an earlier phase: by broadcast, else they read it."""
    if sending(site).transport == "collective":
        return sending(site).seconds(site)
    costs = site.assumptions.costs
    return costs.send_fixed_s + site.weight_bytes / costs.model_read_bytes_s


def _held(site: Site) -> float:
    """The share of the model that the first rank holds; most of a mixture is experts."""
    layout = site.candidate.layout
    return 1 / (layout.pp * (layout.ep * layout.etp if site.shape.experts else layout.tp))
