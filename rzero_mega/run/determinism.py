"""Variables by which NCCL, Transformer Engine and cuBLAS sum in an order of their own choosing, and always in that."""

from __future__ import annotations

from collections.abc import Mapping

from rzero_mega.errors import UserError

# For each what is set, and what else may be set already. Megatron-LM's check takes NCCL's Tree and ^NVLS as well, where
# the shape of the trees, or the choice of the algorithm, is NCCL's own.
_VARIABLES = {
    "NCCL_ALGO": ("Ring", ("Ring", "CollnetDirect", "CollnetChain")),
    "NVTE_ALLOW_NONDETERMINISTIC_ALGO": ("0", ("0",)),
    "CUBLAS_WORKSPACE_CONFIG": (":4096:8", (":4096:8", ":16:8")),
}


def deterministic_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What a deterministic learner's environment lacks. UserError names a variable that is set to anything else.

    They are read when the first communicator, attention layer and matrix product are made.
    """
    missing = {}
    for name, (value, accepted) in _VARIABLES.items():
        found = environ.get(name)
        if found is None:
            missing[name] = value
        elif not all(part.strip() in accepted for part in found.split(",")):
            raise UserError(
                f"learner.deterministic: the environment has {name}={found}, and sums in a fixed order need "
                f"{' or '.join(accepted)}; unset it, or set learner.deterministic to false"
            )
    return missing
