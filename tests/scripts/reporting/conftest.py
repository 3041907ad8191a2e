from __future__ import annotations

from tests.sim2real.conftest import copy_of, mlp_agent, mlp_bundle

__all__ = ["copy_of", "mlp_agent", "mlp_bundle"]
