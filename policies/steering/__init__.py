"""Off-policy rules that leave a generative policy as it is and choose among what it can do.

``frozen.py``: what can be steered.  ``dsrl.py``, ``expo.py``: the rules, as policies.  ``sac.py``, ``replay.py``: how
they learn, by Stable-Baselines3's soft actor-critic; nothing else here needs that package, so a steered policy runs
without it.  ``noise.py``, ``view.py``: a task in whose noise space any learner may act.

They stand here because they are made of a policy, know ``embodied.types`` alone, and see an environment only through
its contract. The on-policy learner has no part in it.
"""
