"""plan, solve_shares, validate and peaks on numpy arrays."""
import ctypes
from dataclasses import dataclass
from typing import Optional, Sequence

import numpy as np

from ._library import LIBRARY, BallastError, Loads, Options, Shape, Summary, call


@dataclass(frozen=True)
class Ranks:
    """What is placed on: copies that each rank holds, a layer; its node; its relative speed."""

    slots: Sequence[int]
    nodes: Optional[Sequence[int]] = None
    speeds: Optional[Sequence[float]] = None

    @classmethod
    def alike(cls, ranks, slots, nodes=1):
        """`ranks` ranks of `slots` slots each; nodes hold consecutive ranks."""
        return cls([slots] * ranks, [rank * nodes // ranks for rank in range(ranks)])


@dataclass(frozen=True)
class Plan:
    map: np.ndarray  # int32 [layers, slots]
    moves: int  # slots that hold an expert which was not on that rank before
    peak_before: float  # mean over layers, on the last interval; 0 without a legal map
    peak_after: float
    peak_most: float  # of the worst layer
    note: str  # what was asked for and could not be; empty if nothing


@dataclass(frozen=True)
class Shares:
    shares: np.ndarray  # float64 [layers, slots]: part of its expert's tokens that a slot takes
    peaks: np.ndarray  # float64 [layers]: what is reached
    bounds: np.ndarray  # float64 [layers]: what no shares can fall below


def _loads(values, name, dimensions):
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.ndim != dimensions:
        raise BallastError("invalid_argument", f"{name}: an array of {array.ndim} dimensions, wanted {dimensions}")
    return array


def _address(array):
    return None if array is None else array.ctypes.data


class _Cluster:
    """A shape for the library, with the arrays that it points to."""

    def __init__(self, ranks, layers, experts, groups=1):
        self.slots = self._array(ranks.slots, np.uint32, "slots", None)
        count = len(self.slots)
        self.nodes = self._array(ranks.nodes, np.uint32, "nodes", count)
        self.speeds = self._array(ranks.speeds, np.float64, "speeds", count)
        self.map_shape = (layers, int(self.slots.sum(dtype=np.int64)))
        self.shape = Shape(layers=layers, experts=experts, groups=groups, ranks=count, slots=_address(self.slots),
                           nodes=_address(self.nodes), speeds=_address(self.speeds))

    @staticmethod
    def _array(values, dtype, name, count):
        if values is None:
            return None
        given = np.asarray(values)
        if given.ndim != 1 or (count is not None and len(given) != count):
            raise BallastError("invalid_argument", f"ranks: {name} is not a list of one number a rank")
        if dtype is np.uint32 and given.size and (given.min() < 0 or given.max() > np.iinfo(dtype).max):
            raise BallastError("invalid_argument", f"ranks: {name} has a number below 0 or too large")
        return np.ascontiguousarray(given, dtype=dtype)

    def map(self, values):
        given = np.asarray(values)
        if given.shape != self.map_shape:
            raise BallastError("invalid_argument", f"map: of shape {given.shape}, wanted {self.map_shape}")
        narrow = np.ascontiguousarray(given, dtype=np.int32)
        if not np.array_equal(narrow, given):
            raise BallastError("invalid_argument", "map: has something that is no expert's number")
        return narrow

    def pointer(self):
        return ctypes.byref(self.shape)


def plan(loads, ranks, current=None, policy="economy", parts=None, intervals=None, groups=1, **options):
    """Plans a placement for the loads of the last interval.

    `parts` [n, layers, experts] are consecutive parts of that interval, `intervals` [n, layers, experts] those before it,
    oldest first: with them the next interval is balanced better. `current` is the map in use; what stays on its rank stays in
    its slot. Options by name, with `__` for a point: write_price=0.05, threads=4, snapshots__change=0.
    """
    last = _loads(loads, "loads", 2)
    cluster = _Cluster(ranks, *last.shape, groups)
    earlier = {}
    for name, values in (("part", parts), ("interval", intervals)):
        if values is None or len(values) == 0:
            continue
        earlier[name] = _loads(values, f"{name}s", 3)
        if earlier[name].shape[1:] != last.shape:
            raise BallastError("invalid_argument", f"{name}s: of shape {earlier[name].shape[1:]}, the loads {last.shape}")
    seen = Loads(last=_address(last), parts=_address(earlier.get("part")), intervals=_address(earlier.get("interval")),
                 part_count=len(earlier.get("part", ())), interval_count=len(earlier.get("interval", ())))
    before = None if current is None else cluster.map(current)
    out = np.empty(cluster.map_shape, dtype=np.int32)
    summary = Summary()
    chosen = Options(policy, {name.replace("__", "."): value for name, value in options.items()})
    call(LIBRARY.ballast_plan, cluster.pointer(), chosen.handle, ctypes.byref(seen), _address(before), _address(out),
         ctypes.byref(summary))
    return Plan(out, summary.moves, summary.peak_before, summary.peak_after, summary.peak_most, summary.note.decode())


def solve_shares(map, loads, ranks, gap=1e-6, even=0.0, threads=1):
    """Solves for the part of its expert's tokens that every slot takes, so that the busiest rank has the least to do."""
    served = _loads(loads, "loads", 2)
    cluster = _Cluster(ranks, *served.shape)
    placed = cluster.map(map)
    shares = np.empty(cluster.map_shape)
    reached, bounds = np.empty(len(served)), np.empty(len(served))
    chosen = Options("economy", {"shares.gap": gap, "shares.even": even, "threads": threads})
    call(LIBRARY.ballast_solve_shares, cluster.pointer(), chosen.handle, _address(placed), _address(served),
         _address(shares), _address(reached), _address(bounds))
    return Shares(shares, reached, bounds)


def validate(map, experts, ranks):
    """Raises BallastError unless every expert has a copy in every layer and none has two on a rank."""
    cluster = _Cluster(ranks, len(map), experts)
    call(LIBRARY.ballast_validate, cluster.pointer(), _address(cluster.map(map)))


def peaks(map, loads, ranks, shares=None):
    """The peak of every layer, tokens split by `shares` [layers, slots] or evenly over the copies."""
    served = _loads(loads, "loads", 2)
    cluster = _Cluster(ranks, *served.shape)
    placed = cluster.map(map)
    split = None if shares is None else _loads(shares, "shares", 2)
    if split is not None and split.shape != cluster.map_shape:
        raise BallastError("invalid_argument", f"shares: of shape {split.shape}, wanted {cluster.map_shape}")
    out = np.empty(len(served))
    call(LIBRARY.ballast_peaks, cluster.pointer(), _address(placed), _address(split), _address(served), _address(out))
    return out
