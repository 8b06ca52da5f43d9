"""Benchmarks: a manifest, and how its images come to be."""
