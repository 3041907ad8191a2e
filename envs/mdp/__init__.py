"""Observation, reward and termination terms: small pure functions of a robot's state, weighted in YAML."""
