"""Benchmarks that compare methods: jobs, a protocol, and what their numbers say."""
