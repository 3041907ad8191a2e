"""Parity of policies of tokens: rounding changes a decision by nothing, or, where two tokens are as good as equally
likely, by a whole token. Such a tie is told from a wrong network by the logits in float64.

A network that rounds its logits by e at most takes a token whose exact logit falls short of the best by 2e at most.
The policy's own e, float32 against float64, is measured; another program may well round by twice as much.

Legend: T decisions of R rows; H action chunk; A action size; N tokens of an action element; k rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .recording import Recording

if TYPE_CHECKING:
    from .deployed import DeployedPolicy

SLACK = 2 * 2
SAMPLE = 16
"""Steps over which the rounding is measured."""


def ties(
    reference: DeployedPolicy, recording: Recording, expected: np.ndarray, found: np.ndarray, tolerance: float
) -> NDArray[np.bool_]:
    """(T, R): where a network's actions ``found`` (T, R, H, A) differ from the ``expected`` ones by a tie.

    Everywhere False for a policy without tokens. Tokens after another are judged given those before them.
    """
    tied = np.zeros(recording.start.shape, bool)
    differs = np.abs(expected.astype(np.float64) - found).max((-2, -1)) > tolerance
    if not (reference.tokens and differs.any()):
        return tied
    exact, where = reference.exact(), np.flatnonzero(differs)
    some = found.reshape(1, -1, *found.shape[2:])[:, where]
    short = shortfall(exact, recording.flat().take(where), some)
    tied[differs] = short <= SLACK * rounding(reference, exact, recording.first(SAMPLE), expected[:SAMPLE])
    return tied


def shortfall(policy: DeployedPolicy, recording: Recording, action: np.ndarray) -> NDArray[np.float64]:
    """(k,): by how much the worst of the tokens that actions (1, k, H, A) are falls short of the best one, nats."""
    ((logits, token),) = policy.logits(recording, action)
    short = logits.amax(-1) - logits.gather(-1, token.unsqueeze(-1)).squeeze(-1)
    return short.flatten(1).amax(-1).double().numpy()


def rounding(policy: DeployedPolicy, exact: DeployedPolicy, recording: Recording, action: np.ndarray) -> float:
    """The largest difference between logits in float32 and in float64, nats."""
    pairs = zip(policy.logits(recording, action), exact.logits(recording, action), strict=True)
    return max(float((a - b).abs().max()) for (a, _), (b, _) in pairs)


def lead(policy: DeployedPolicy, recording: Recording) -> NDArray[np.float64]:
    """(k,): by how much the closest of a decision's tokens leads the next best, for a recording of one step, nats."""
    ((logits, _),) = policy.logits(recording, policy.replay(recording)[1])
    best = logits.topk(2, -1).values
    return (best[..., 0] - best[..., 1]).flatten(1).amin(-1).double().numpy()
