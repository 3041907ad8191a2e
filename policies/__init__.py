"""Policies: networks and their likelihoods."""

from .registry import make

__all__ = ["make"]
