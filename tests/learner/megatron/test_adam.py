from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from rzero_mega.learner.megatron.adam import GroupStepAdamW


def parameters(dtype: torch.dtype) -> list[torch.nn.Parameter]:
    torch.manual_seed(3)
    return [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in ((4, 3), (7,), ())]


def groups(params: list[torch.nn.Parameter]) -> Any:
    return [{"params": params[:1], "weight_decay": 0.1}, {"params": params[1:], "lr": 3e-3}]


def give_gradients(params: list[torch.nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in params:
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_several_steps_equal_those_of_torch(dtype: torch.dtype) -> None:
    ours, theirs = parameters(dtype), parameters(dtype)
    settings: dict[str, Any] = {"lr": 1e-2, "betas": (0.8, 0.95), "eps": 1e-6}
    mine = GroupStepAdamW(groups(ours), **settings)
    reference = torch.optim.AdamW(groups(theirs), weight_decay=0.0, foreach=True, **settings)
    for step in range(6):
        give_gradients(ours, step)
        give_gradients(theirs, step)
        mine.step()
        reference.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_reloaded_state_goes_on_bit_for_bit() -> None:
    ours = parameters(torch.float32)
    optimizer = GroupStepAdamW(groups(ours), lr=1e-2)
    for step in range(3):
        give_gradients(ours, step)
        optimizer.step()
    twins = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    other = GroupStepAdamW(groups(twins), lr=1e-2)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(3, 6):
        for params, stepping in ((ours, optimizer), (twins, other)):
            give_gradients(params, step)
            stepping.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, twins, strict=True))


def test_the_count_of_steps_lies_in_the_group_and_nowhere_else() -> None:
    params = parameters(torch.float32)
    optimizer = GroupStepAdamW(groups(params), lr=1e-2)
    for step in range(3):
        give_gradients(params, step)
        optimizer.step()
    assert [group["step"] for group in optimizer.param_groups] == [3, 3]
    assert all(set(state) == {"exp_avg", "exp_avg_sq"} for state in optimizer.state.values())


def test_a_parameter_without_a_gradient_stays_as_it_is() -> None:
    params = parameters(torch.float32)
    before = [p.detach().clone() for p in params]
    optimizer = GroupStepAdamW(groups(params), lr=1e-2)
    give_gradients(params, 0)
    params[1].grad = None
    optimizer.step()
    assert [torch.equal(p, old) for p, old in zip(params, before, strict=True)] == [False, True, False]


def test_weight_decay_inside_the_gradient_is_refused() -> None:
    with pytest.raises(ValueError, match="AdamW"):
        GroupStepAdamW(parameters(torch.float32), adam_w_mode=False)
