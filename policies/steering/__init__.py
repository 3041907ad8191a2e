"""Off-policy rules that leave a generative policy as it is and choose among what it can do.

They stand here because they are made of a policy, know ``embodied.types`` alone, and see an environment only through
its contract; what joins them to a task and to Stable-Baselines3 is the caller. The on-policy learner has no part in it.
"""
