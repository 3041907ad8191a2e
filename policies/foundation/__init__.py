"""What policies on large published weights share: reading and writing their checkpoints, adapters, prompts, pixels.

``shards.py``: folders of safetensors.  ``keymap.py``: published names and ours.  ``frozen.py``: weights that do not
learn are neither stored nor copied.  ``adapters.py``: LoRA.  ``prompts.py``: the checkpoint's own tokenizer.
``images.py``: from bytes to pixels.  ``critic.py``: a value from a hidden state.
"""
