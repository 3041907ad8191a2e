"""Policies: networks and their likelihoods."""
