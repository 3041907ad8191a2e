from __future__ import annotations

import numpy as np
import pytest
import torch

from embodied.datasets import DatasetError
from embodied.datasets.fitting import histories, make_normalizer
from embodied.normalize import ObsNormalizer
from embodied.types import ActionSpec, Mirror, ObsGroup, Symmetry

from .examples import linear_data, spec


@pytest.mark.parametrize("method", ["quantiles", "minmax", "mean_std"])
def test_observations_are_normalised_by_the_data(method: str) -> None:
    data = linear_data()
    seen = make_normalizer(spec(), data, method)({"policy": data.obs["policy"]})["policy"].double().numpy()
    x = data.obs["policy"].double().numpy()
    low, high = np.quantile(x, [0.01, 0.99], axis=0)
    expected = {
        "quantiles": (x - (low + high) / 2) / ((high - low) / 2),
        "minmax": 2 * (x - x.min(0)) / (x.max(0) - x.min(0)) - 1,
        "mean_std": (x - x.mean(0)) / x.std(0),
    }[method]
    np.testing.assert_allclose(seen, expected, atol=1e-5)


def test_the_constants_outlast_a_checkpoint_and_learning() -> None:
    """What reinforcement learning sees later moves nothing; a group that the data lack does learn."""
    data = linear_data()
    fitted = make_normalizer(spec(critic=1), data, "quantiles")
    again = ObsNormalizer.of(spec(critic=1))
    again.load_state_dict(fitted.state_dict())
    probe = {"policy": torch.randn(5, 2), "critic": torch.randn(5, 1)}
    before = again(probe)
    for _ in range(50):
        again.accumulate({"policy": 1000 + torch.randn(4096, 2), "critic": 1000 + torch.randn(4096, 1)})
        again.commit()
    assert torch.equal(again(probe)["policy"], before["policy"])
    assert again.moments["critic"].mean.item() == pytest.approx(1000, abs=1)  # type: ignore[union-attr]


def test_a_history_repeats_the_constants() -> None:
    data = linear_data()
    group = ObsGroup(shape=(3, 2))
    tall = make_normalizer(spec(obs={"policy": group}), data, "minmax").moments["policy"]
    flat = make_normalizer(spec(size=6), data, "minmax").moments["policy"]
    one = make_normalizer(spec(), data, "minmax").moments["policy"]
    assert torch.equal(tall.mean, one.mean.expand(3, 2))  # type: ignore[union-attr,operator]
    assert torch.equal(flat.var, one.var.repeat(3))  # type: ignore[operator,arg-type]


def test_normalising_commutes_with_the_symmetry() -> None:
    mirror = Mirror((1, 0), (-1.0, -1.0))
    symmetry = Symmetry({"policy": mirror}, Mirror((0,), (-1.0,)))
    normalizer = make_normalizer(spec(symmetry=symmetry), linear_data(), "quantiles")
    x = torch.randn(6, 2) * 3
    torch.testing.assert_close(normalizer({"policy": mirror(x)})["policy"], mirror(normalizer({"policy": x})["policy"]))


def test_the_task_says_what_history_it_shows() -> None:
    data = linear_data()
    assert histories(spec(), data) == {}
    assert histories(spec(size=6), data) == {"policy": 3}
    assert histories(spec(chunk=4, control_dt=0.4), data) == {}  # the period of a decision of four actions
    assert histories(spec(critic=5), data) == {}


def test_data_that_do_not_fit() -> None:
    data = linear_data()
    faults = {
        "observation group 'policy' has 2 elements, the task's 5": spec(size=5),
        r"1 actions \(a\), the task has 2": spec(action=ActionSpec(("a", "b"))),
        "control period 0.1 s, the task's is 0.02 s": spec(control_dt=0.02),
        "observation group 'image' is missing": spec(obs={"policy": ObsGroup(shape=(2,)), "image": ObsGroup()}),
    }
    for message, task in faults.items():
        with pytest.raises(DatasetError, match=f"demonstrations of 'reach' do not fit task 'reach': {message}"):
            histories(task, data)
