from __future__ import annotations

import pytest

from rzero_mega.errors import UserError
from rzero_mega.run.determinism import deterministic_variables

WANTED = {"NCCL_ALGO": "Ring", "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}


def test_what_the_environment_lacks_is_set_and_what_is_deterministic_already_stays() -> None:
    assert deterministic_variables({"HOME": "/"}) == WANTED
    others = {"NCCL_ALGO": "CollnetDirect,Ring", "CUBLAS_WORKSPACE_CONFIG": ":16:8"}
    assert deterministic_variables(others) == {"NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0"}
    assert deterministic_variables(WANTED) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NCCL_ALGO", "Tree"),
        ("NCCL_ALGO", "Ring,NVLS"),
        ("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "1"),
        ("CUBLAS_WORKSPACE_CONFIG", ":4096:2"),
    ],
)
def test_a_variable_that_contradicts_is_named_with_its_value(name: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"^learner\.deterministic: the environment has {name}={value}, .*; unset it"):
        deterministic_variables({name: value})
