from __future__ import annotations

import torch

from policies.foundation.critic import ValueHead


def test_it_is_a_perceptron_with_gelu_in_its_own_type() -> None:
    head, x = ValueHead(4, (6, 5)), torch.randn(3, 4, dtype=torch.bfloat16)
    first, second, last = (head.layers[i] for i in (0, 2, 4))
    y = torch.nn.functional.gelu(second(torch.nn.functional.gelu(first(x.float()))))
    assert torch.equal(head(x), last(y).squeeze(-1)) and head(x).dtype == torch.float32
    assert head.double()(x).dtype == torch.float64
