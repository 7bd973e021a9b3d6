import numpy as np
import pytest

from vla.normalize import Normalization, Normalizer, choose_statistics


@pytest.mark.parametrize("kind", list(Normalization))
def test_official_numbers(golden_misc, kind):
    data = golden_misc["libero_dataset"]
    columns = {**data["stats"]["action"], "mask": data["mask"]}
    scale = Normalizer.from_statistics(columns, kind)
    ours = scale.normalize(data["standardised_action"], zero_constant=True)
    assert np.abs(ours - data[f"normalised_{kind.value}"]["action"]).max() < 1e-5
    state = Normalizer.from_statistics(data["stats"]["proprio"], kind)
    ours = state.normalize(data["proprio"], zero_constant=True)
    assert np.abs(ours - data[f"normalised_{kind.value}"]["proprio"]).max() < 1e-5


@pytest.mark.parametrize("kind", list(Normalization))
def test_there_and_back(kind):
    random = np.random.default_rng(0)
    columns = {name: random.uniform(-2, -1, 5) for name in ("min", "q01", "mean")}
    columns |= {name: random.uniform(1, 2, 5) for name in ("max", "q99", "std")}
    scale = Normalizer.from_statistics({**columns, "mask": [True] * 4 + [False]}, kind)
    values = random.uniform(-1, 1, (3, 5))
    assert np.abs(scale.unnormalize(scale.normalize(values)) - values).max() < 1e-7
    assert np.array_equal(scale.unnormalize(values)[:, 4], values[:, 4])


def test_wrong_sizes_are_named():
    columns = {"min": [0.0], "max": [1.0]}
    with pytest.raises(ValueError, match="vectors of 1 numbers, got shape"):
        Normalizer.from_statistics(columns, Normalization.BOUNDS).normalize([1.0, 2.0])
    with pytest.raises(ValueError, match="missing"):
        Normalizer.from_statistics(columns, Normalization.BOUNDS_Q99)
    with pytest.raises(ValueError, match="one length"):
        Normalizer.from_statistics({**columns, "mask": [True, True]}, Normalization.BOUNDS)


def test_choice():
    assert choose_statistics(["a"], None) == "a"
    assert choose_statistics(["a_no_noops", "b"], "a") == "a_no_noops"
    with pytest.raises(ValueError, match="expected one of several"):
        choose_statistics(["a", "b"], None)
    with pytest.raises(ValueError, match="Did you mean 'libero_goal'"):
        choose_statistics(["libero_goal"], "libero_gaol")
