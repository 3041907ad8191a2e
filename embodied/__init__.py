"""The learning core of the embodied RL suite: one on-policy learner for every policy and every environment."""
