"""OpenVLA and OpenVLA-OFT on their published weights, as policies of the suite.

``layout.py``: the checkpoint's files, names and settings.  ``towers.py``: its two vision towers.  ``network.py``: from
image and prompt to hidden states.  ``decoding.py``: from these to the tokens of ``actions.py``, one after the other
(OpenVLA) or all at once (OpenVLA-OFT).  ``policy.py``: the policy.
"""
