"""Policies that see and are told what to do: a compact vision-language-action model that trains from scratch.

``tokenizer``, ``language`` and ``vision`` make tokens, ``trunk`` mixes them, ``heads`` turn them into actions;
``tokens`` is the policy with a token head. Flow and diffusion policies take the trunk as their encoder
(``condition``, ``policy.encoder=vla``).
"""
