"""Domains by name: those of this package, and those that other packages offer as entry points."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from rzero_mega.coevolution.checks import Checks
from rzero_mega.config.schema import Config
from rzero_mega.config.suggestions import alike
from rzero_mega.domains.arithmetic.domain import ARITHMETIC
from rzero_mega.domains.benchmark import BuiltIn
from rzero_mega.domains.domain import Domain
from rzero_mega.domains.mathematics.domain import MATHEMATICS
from rzero_mega.domains.rewriting.domain import REWRITING
from rzero_mega.domains.summaries.domain import SUMMARIES
from rzero_mega.errors import UserError, first_line

GROUP = "rzero_mega.domains"
"""The group of entry points. One names a `Domain`, under the domain's name; no name of a shipped domain is taken."""

SHIPPED: dict[str, Domain] = {domain.name: domain for domain in (MATHEMATICS, ARITHMETIC, REWRITING, SUMMARIES)}


def domain_names() -> list[str]:
    """All that there are on this machine."""
    return [*SHIPPED, *sorted(_installed().keys() - SHIPPED.keys())]


def domain_of(config: Config) -> Domain:
    """The domain of a run; UserError as `domain_named`."""
    return domain_named(config.domain)


def checks_of(config: Config) -> Checks:
    """The checks of a run's domain, as its configuration has them."""
    return Checks(domain_of(config).checks, config.checks)


def domain_named(name: str) -> Domain:
    """A domain, loaded if another package has it. UserError lists those that there are, or says what can't be loaded.

    Nothing but the domain that is named is loaded.
    """
    if name in SHIPPED:
        return SHIPPED[name]
    entry = _installed().get(name)
    if entry is not None:
        return _loaded(entry)
    known = domain_names()
    hint = f"did you mean {close}?" if (close := alike(name, known)) else f"there are {', '.join(known)}"
    raise UserError(f"domain: {name!r} is none; {hint}")


def built_in_benchmark(name: str) -> BuiltIn | None:
    """A benchmark that a domain brings; None if none does."""
    for domain in SHIPPED.values():
        if name in domain.benchmarks:
            return domain.benchmarks[name]
    owner = _owner(name)
    return domain_named(owner).benchmarks.get(name) if owner in _installed() else None


def built_in_benchmarks() -> dict[str, BuiltIn]:
    """All that domains bring, by name. Loads every domain."""
    domains = map(domain_named, domain_names())
    return {name: benchmark for domain in domains for name, benchmark in domain.benchmarks.items()}


def _owner(benchmark: str) -> str:
    """The domain of another package's benchmark: it is told by the name, so that no other one is loaded to find it."""
    return benchmark.partition(".")[0]


def _installed() -> Mapping[str, EntryPoint]:
    return _installed_on(tuple(sys.path))


@cache
def _installed_on(_path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    # Every package on the path is looked into.
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> Domain:
    where = f"domain {entry.name} ({entry.value} of {entry.dist.name if entry.dist else 'another package'})"
    try:
        found = entry.load()
    except Exception as error:  # somebody else's code, which may fail in any way
        raise UserError(f"{where}: can't be loaded ({type(error).__name__}: {first_line(error)})") from None
    if not isinstance(found, Domain):
        raise UserError(f"{where}: is a {type(found).__name__}, and no rzero_mega.domains.domain.Domain")
    if found.name != entry.name:
        raise UserError(f"{where}: calls itself {found.name!r}; give the entry point that name")
    strange = [name for name in found.benchmarks if _owner(name) != found.name]
    if strange:
        raise UserError(f"{where}: rename its benchmark {strange[0]!r} to {found.name} or {found.name}.SOMETHING")
    return found
