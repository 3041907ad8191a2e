"""One short module a command of ``embodied``; the only package that sees all the others."""
