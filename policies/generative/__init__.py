"""Diffusion and flow policies: denoisers, processes, and the rules by which reinforcement learning updates them.

``denoisers.py``, ``unet.py``, ``dit.py``, ``encoders.py``: networks.  ``diffusion.py``, ``flow.py``, ``shortcut.py``,
``mean_flow.py``: processes, each with one transition that sampler and likelihood share.  ``ncdpo.py``, ``dppo.py``,
``reinflow.py``, ``flow_sde.py``, ``fpo.py``, ``residual.py``: policies. Every rule takes every network and process.
"""
