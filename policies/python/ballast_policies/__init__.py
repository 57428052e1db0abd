"""Ballast's planner on numpy arrays: which rank holds which expert, and which part of its tokens each copy takes.

A map is int32 [layers, slots]: the logical expert in every slot, those of rank 0 first, -1 for an empty one. Loads are
token counts [layers, experts], or anything in proportion to them. "Peak" is the load of the busiest rank over the mean
one. All functions are pure and may be called from any thread; they release the interpreter while they work.
"""
from ._library import BallastError, library_version
from .planner import Plan, Ranks, Shares, peaks, plan, solve_shares, validate

__all__ = ["BallastError", "Plan", "Ranks", "Shares", "library_version", "peaks", "plan", "solve_shares", "validate"]
