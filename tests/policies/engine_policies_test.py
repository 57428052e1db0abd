#!/usr/bin/python3
"""The planner from Python, and behind the calls of other engines. The package is imported from PYTHONPATH, the library
from BALLAST_POLICIES_LIBRARY; the tests with torch tensors are skipped where there is no torch."""
import os
import subprocess
import sys
import threading
import unittest

import numpy as np

import ballast_policies
from ballast_policies import BallastError, Ranks, peaks, plan, solve_shares, validate
from ballast_policies.engines import EnginePolicy, EnginePolicyThreeMaps, inverse_maps, rebalance_experts

try:
    import torch
except ImportError:
    torch = None

# DeepSeek's documented example: 12 experts, 16 replicas, 4 groups, 2 nodes, 8 ranks.
EXAMPLE = np.array([[90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86],
                    [20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27]])


def skewed(layers, experts, seed=1):
    return np.floor(np.random.default_rng(seed).lognormal(6, 0.8, (layers, experts)))


class Planner(unittest.TestCase):
    ranks = Ranks.alike(8, 9, nodes=2)

    def test_plans_follow_loads_with_few_moves(self):
        loads = skewed(4, 64)
        before = plan(loads, self.ranks, policy="fresh")
        self.assertEqual((before.map.shape, before.map.dtype), ((4, 72), np.int32))
        validate(before.map, 64, self.ranks)
        later = loads * np.random.default_rng(2).lognormal(0, 0.2, loads.shape)
        after = plan(later, self.ranks, before.map, parts=[loads / 2, later / 2], intervals=[loads])
        self.assertEqual(after.moves, np.count_nonzero(after.map != before.map))
        self.assertTrue(0 < after.moves < before.map.size // 5)
        self.assertLess(after.peak_after, after.peak_before)
        self.assertAlmostEqual(after.peak_after, peaks(after.map, later, self.ranks).mean())
        again = plan(later, self.ranks, before.map, parts=[loads / 2, later / 2], intervals=[loads], threads=4)
        np.testing.assert_array_equal(again.map, after.map)

    def test_shares_reach_their_bound(self):
        map = plan(skewed(4, 64), self.ranks, policy="fresh").map
        loads = skewed(4, 64) * np.tile([1, 2], 32)
        solved = solve_shares(map, loads, self.ranks)
        reached = peaks(map, loads, self.ranks, solved.shares)
        np.testing.assert_allclose(reached, solved.peaks, atol=1e-5)
        self.assertTrue((solved.peaks < peaks(map, loads, self.ranks)).all())
        self.assertTrue((solved.peaks >= solved.bounds * (1 - 1e-9)).all())

    def test_options_are_named_as_in_the_docs(self):
        loads = skewed(2, 64)
        some = plan(loads, self.ranks, policy="fresh", redundant=3, snapshots__change=0)
        self.assertEqual(np.count_nonzero(some.map < 0), 2 * 5)
        joined = plan(loads, self.ranks, policy="fresh", solved_shares=True)
        self.assertAlmostEqual(solve_shares(joined.map, loads, self.ranks).peaks.mean(), 1, places=2)

    def test_errors_say_what_is_wrong(self):
        loads = skewed(2, 64)
        for kind, text, call in (
                ("not_found", "economy", lambda: plan(loads, self.ranks, policy="best")),
                ("not_found", "write_price", lambda: plan(loads, self.ranks, price=1)),
                ("does_not_fit", "64 experts", lambda: plan(loads, Ranks.alike(2, 9))),
                ("invalid_argument", "wanted \\(2, 72\\)", lambda: plan(loads, self.ranks, np.zeros((2, 71)))),
                ("invalid_argument", "no expert's number", lambda: plan(loads, self.ranks, np.full((2, 72), 0.5))),
                ("invalid_argument", "dimensions", lambda: plan(loads[0], self.ranks)),
                ("invalid_argument", "parts", lambda: plan(loads, self.ranks, parts=[loads[:, 1:]])),
                ("invalid_argument", "speeds", lambda: plan(loads, Ranks([9] * 8, speeds=[1.0] * 7))),
                ("invalid_argument", "expert 5", lambda: plan(np.where(np.arange(64) == 5, -1, loads), self.ranks)),
                ("invalid_argument", "has no slot", lambda: validate(np.zeros((2, 72)), 64, Ranks([1] * 72)))):
            with self.assertRaisesRegex(BallastError, text) as raised:
                call()
            self.assertEqual(raised.exception.kind, kind, text)

    def test_threads_of_one_process_may_plan_at_once(self):
        loads, maps = skewed(4, 64), []
        work = [threading.Thread(target=lambda: maps.append(plan(loads, self.ranks).map)) for _ in range(8)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        self.assertEqual(len(maps), 8)
        for map in maps:
            np.testing.assert_array_equal(map, maps[0])

    def test_a_missing_library_is_said_with_the_remedy(self):
        done = subprocess.run([sys.executable, "-c", "import ballast_policies"], capture_output=True, text=True,
                              env=os.environ | {"BALLAST_POLICIES_LIBRARY": "/nowhere/libballast_policies.so.1"})
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr.splitlines()[-1], "ImportError.*/nowhere/.*set BALLAST_POLICIES_LIBRARY")


class Engines(unittest.TestCase):
    def expect_map(self, map, shape, experts, ranks):
        self.assertEqual((map.shape, map.dtype), (shape, np.int64))
        for row in map:
            self.assertEqual(set(row), set(range(experts)), "every expert has a replica")
            for held in row.reshape(ranks, -1):
                self.assertEqual(len(set(held)), len(held), "none has two on a rank")

    def test_shapes_and_coverage(self):
        for layers, experts, replicas, groups, nodes, ranks in (
                (2, 12, 16, 4, 2, 8), (3, 64, 64, 1, 1, 8), (3, 64, 72, 8, 3, 9), (1, 7, 7, 1, 1, 7), (2, 256, 320, 8, 8, 64)):
            map = EnginePolicy.rebalance_experts(skewed(layers, experts), replicas, groups, nodes, ranks)
            self.expect_map(map, (layers, replicas), experts, ranks)

    def test_three_maps_agree(self):
        map, physical, counts = rebalance_experts(EXAMPLE, 16, 4, 2, 8)
        self.expect_map(map, (2, 16), 12, 8)
        self.assertEqual((physical.dtype, counts.dtype), (np.int64, np.int64))
        self.assertEqual(physical.shape, (2, 12, counts.max()))
        self.assertEqual(counts.sum(axis=1).tolist(), [16, 16])
        for layer in range(2):
            for expert in range(12):
                places = np.flatnonzero(map[layer] == expert)
                self.assertEqual(physical[layer, expert, :counts[layer, expert]].tolist(), places.tolist())
                self.assertTrue((physical[layer, expert, counts[layer, expert]:] == -1).all())

    def test_no_worse_than_the_published_heuristic(self):
        cases = [(EXAMPLE, 16, 4, 2, 8)] + [(skewed(4, 128, seed), 144, 8, 2, 16) for seed in range(5)]
        for weight, replicas, groups, nodes, count in cases:
            ranks = Ranks.alike(count, replicas // count, nodes)
            published = plan(weight, ranks, policy="deepseek", groups=groups).map
            ours = EnginePolicy.rebalance_experts(weight, replicas, groups, nodes, count)
            self.assertTrue((peaks(ours, weight, ranks) <= peaks(published, weight, ranks) + 1e-9).all())

    def test_a_balanced_map_stays(self):
        weight = skewed(3, 64)
        map = EnginePolicy.rebalance_experts(weight, 72, 1, 1, 8)
        np.testing.assert_array_equal(EnginePolicy.rebalance_experts(weight, 72, 1, 1, 8, map), map)
        even = np.tile(np.arange(64), (3, 1))
        np.testing.assert_array_equal(EnginePolicy.rebalance_experts(np.ones((3, 64)), 64, 1, 1, 8, even), even)

    def test_experts_that_stay_on_their_rank_stay_in_their_slot(self):
        weight = skewed(3, 64)
        before = EnginePolicy.rebalance_experts(weight, 72, 1, 1, 8)
        after = EnginePolicy.rebalance_experts(skewed(3, 64, 9), 72, 1, 1, 8, before)
        self.assertTrue((before != after).any())
        for old, new in zip(before.reshape(3 * 8, 9), after.reshape(3 * 8, 9)):
            for expert in set(old) & set(new):
                self.assertEqual(old.tolist().index(expert), new.tolist().index(expert))

    def test_ranks_come_and_go_at_the_end(self):
        weight = skewed(2, 64)
        eight = EnginePolicy.rebalance_experts(weight, 80, 1, 1, 8)
        for ranks in (7, 10):
            map = EnginePolicy.rebalance_experts(weight, 10 * ranks, 1, 1, ranks, eight)
            self.expect_map(map, (2, 10 * ranks), 64, ranks)
            common = 10 * min(ranks, 8)
            self.assertGreater(np.mean(map[:, :common] == eight[:, :common]), 0.5)

    def test_samples_are_planned_for_together(self):
        rng = np.random.default_rng(5)
        samples = np.stack([skewed(2, 64) * rng.lognormal(0, 0.3, (2, 64)) for _ in range(6)])
        map = EnginePolicy.rebalance_experts(samples, 72, 1, 1, 8)
        self.expect_map(map, (2, 72), 64, 8)
        alone = EnginePolicy.rebalance_experts(samples.sum(axis=0), 72, 1, 1, 8)
        ranks = Ranks.alike(8, 9)
        worst = [np.mean([peaks(m, s, ranks) for s in samples]) for m in (map, alone)]
        self.assertLess(worst[0], worst[1])

    def test_more_slots_than_experts_leave_none_empty(self):
        map = EnginePolicy.rebalance_experts(skewed(2, 4), 12, 1, 1, 2)
        self.assertEqual((map.shape, map.min()), ((2, 12), 0))

    def test_what_does_not_spread_is_refused(self):
        with self.assertRaisesRegex(ValueError, "13 replicas"):
            EnginePolicy.rebalance_experts(skewed(1, 8), 13, 1, 1, 4)

    def test_subclasses_choose_policy_and_options(self):
        class Heuristic(EnginePolicy):
            policy = "deepseek"

        published = [[[5, 6], [5, 7], [4, 8], [3, 4], [9, 10], [2, 10], [0, 1], [1, 11]],
                     [[7, 10], [6, 8], [6, 11], [8, 9], [2, 4], [1, 5], [0, 5], [1, 3]]]
        map = Heuristic.rebalance_experts(EXAMPLE, 16, 4, 2, 8)
        self.assertEqual(np.sort(map.reshape(2, 8, 2)).tolist(), published)

    @unittest.skipIf(torch is None, "no torch here")
    def test_torch_tensors_come_back_as_torch_tensors(self):
        weight = torch.from_numpy(EXAMPLE).to(torch.int32)
        maps = EnginePolicyThreeMaps.rebalance_experts(weight, 16, 4, 2, 8)
        for map, array in zip(maps, rebalance_experts(EXAMPLE, 16, 4, 2, 8)):
            self.assertEqual((map.dtype, map.device.type), (torch.int64, "cpu"))
            np.testing.assert_array_equal(map.numpy(), array)
        again = EnginePolicy.rebalance_experts(weight.float(), 16, 4, 2, 8, maps[0])
        self.assertTrue(torch.equal(again, maps[0]))


if __name__ == "__main__":
    unittest.main(verbosity=2)
