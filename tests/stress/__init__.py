"""Campaigns of random trouble, one module each; `make stress` runs them all, the tests beside them a share.

A module draws a case from a seed: ``CASES`` is how many seeds `make stress` tries, and ``run(seed, folder)`` makes the
trouble in an empty folder and returns in a few words how it ended. It raises AssertionError where a promise of
docs/reliability.md is broken.
"""
