"""Speed and memory: run `python -m benchmarks` from the root of the checkout; README.md says how to read it."""
