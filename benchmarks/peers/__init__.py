"""Other projects as the benchmarks run them."""
