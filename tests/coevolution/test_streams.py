from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rzero_mega.coevolution.streams import derive_seed, permutation

parts = st.lists(st.text() | st.integers(), max_size=4)


def test_seeds_never_change() -> None:
    assert derive_seed() == 0xE4A6A0577479B2B4
    assert derive_seed(7, "challenger", 3) == 0xE1C3E67AE52BCF12


def test_neighbouring_names_are_different_streams() -> None:
    names = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), (1,), ("1",), (1, 2), (12,), (-1,), ()]
    assert len({derive_seed(*name) for name in names}) == len(names)


@given(parts, parts)
def test_equal_names_and_only_these_give_equal_seeds(one: list[str | int], other: list[str | int]) -> None:
    assert 0 <= derive_seed(*one) < 2**64
    assert (derive_seed(*one) == derive_seed(*other)) == (one == other)


@given(st.integers(0, 50), parts)
def test_a_permutation_holds_every_index_once(n: int, name: list[str | int]) -> None:
    assert sorted(permutation(n, *name)) == list(range(n))


def test_permutations_are_spread_evenly() -> None:
    first = [permutation(5, "even", trial)[0] for trial in range(2000)]
    assert all(330 < first.count(index) < 470 for index in range(5))
