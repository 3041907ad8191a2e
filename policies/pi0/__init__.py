"""pi0 on its published weights, fine-tuned by the suite's own rules for flows.

``layout.py``: the checkpoint's files, names and settings.  ``network.py``: image and prompt, read once, and the action
expert that looks at what was read.  ``condition.py``: what was read as the condition of a generative policy.
``policy.py``: the policies, by Flow-Noise and Flow-SDE.
"""
