"""What every room builds on: errors, paths, files, packages, seeds, class splits, run specs, device and progress.

It imports no other room.
"""
