"""The planner behind the calls by which engines ask for a placement of their own policies.

vLLM asks a policy class: `rebalance_experts(weight, num_replicas, num_groups, num_nodes, num_ranks,
old_global_expert_indices)` returns the physical-to-logical map (EnginePolicy); earlier releases also wanted the two maps that follow
from it (EnginePolicyThreeMaps). DeepSeek's EPLB and SGLang call a function without the last argument (rebalance_experts).

Arrays are numpy's or torch's: whatever `weight` is, comes back, int64 and on the CPU.
"""
import numpy as np

from .planner import Ranks, plan


def _is_torch(values):
    return type(values).__module__.partition(".")[0] == "torch"


def _to_numpy(values):
    return values.detach().cpu().numpy() if _is_torch(values) else np.asarray(values)


def _like(given, array):
    if not _is_torch(given):
        return array
    import torch  # it is there: `given` is one of its tensors

    return torch.from_numpy(array)


def _fit(map, num_replicas, slots, experts):
    """The map in use, on the ranks to come: ranks are appended and removed at the end, slots a rank stay."""
    width = map.shape[1]
    if width % slots != 0:
        return None  # ranks of another size: nothing says what lies where
    fitted = np.full((map.shape[0], num_replicas), -1, dtype=np.int64)
    kept = min(width, num_replicas)
    fitted[:, :kept] = map[:, :kept]
    fitted[(fitted < 0) | (fitted >= experts)] = -1
    return fitted


def _fill(map, loads, slots):
    """Engines know no empty slot: one that the plan had no use for gets the least loaded expert that its rank lacks, which
    changes the balance least. A rank with more slots than there are experts repeats the least loaded one."""
    for layer, slot in np.argwhere(map < 0):
        first = slot - slot % slots
        held = map[layer, first:first + slots]
        order = np.argsort(loads[layer], kind="stable")
        lacking = order[~np.isin(order, held)]
        map[layer, slot] = (lacking if len(lacking) else order)[0]
    return map


def inverse_maps(map, experts):
    """Logical-to-physical [layers, experts, most copies] (-1 where there are fewer) and the number of copies."""
    layers, replicas = map.shape
    counts = np.zeros((layers, experts), dtype=np.int64)
    np.add.at(counts, (np.arange(layers)[:, None], map), 1)
    order = np.argsort(map, axis=1, kind="stable")
    owner = np.take_along_axis(map, order, axis=1)
    begin = np.cumsum(counts, axis=1) - counts
    nth = np.arange(replicas)[None, :] - np.take_along_axis(begin, owner, axis=1)
    physical = np.full((layers, experts, counts.max()), -1, dtype=np.int64)
    physical[np.arange(layers)[:, None], owner, nth] = order
    return physical, counts


class EnginePolicy:
    """A policy class as vLLM calls it. Subclass it to choose another policy or options."""

    policy = "economy"  # from the map in use; without one the plan starts from nothing
    options = {}  # of plan(): {"write_price": 0.05, "threads": 4}

    @classmethod
    def rebalance_experts(cls, weight, num_replicas, num_groups, num_nodes, num_ranks, old_global_expert_indices=None):
        """The physical-to-logical map, int64 [layers, num_replicas].

        `weight` is [layers, experts], or [samples, layers, experts] with the oldest sample first: then the plan is made
        for all of them at once. `old_global_expert_indices` is the map in use; experts that stay on their rank stay in
        their slot.
        """
        seen = np.asarray(_to_numpy(weight), dtype=np.float64)
        parts = seen if seen.ndim == 3 else None
        loads = seen if parts is None else seen.sum(axis=0)
        if num_ranks <= 0 or num_replicas % num_ranks != 0 or num_nodes <= 0:
            raise ValueError(f"{num_replicas} replicas do not spread evenly over {num_ranks} ranks on {num_nodes} nodes")
        slots = num_replicas // num_ranks
        current = None
        if old_global_expert_indices is not None:
            current = _fit(_to_numpy(old_global_expert_indices), num_replicas, slots, loads.shape[-1])
        policy = cls.policy if current is not None or cls.policy != "economy" else "fresh"
        planned = plan(loads, Ranks.alike(num_ranks, slots, num_nodes), current, policy, parts, groups=num_groups,
                       **cls.options)
        return _like(weight, _fill(planned.map.astype(np.int64), loads, slots))


class EnginePolicyThreeMaps(EnginePolicy):
    """The same for callers that want the physical-to-logical map, its inverse and the number of copies."""

    @classmethod
    def rebalance_experts(cls, weight, num_replicas, num_groups, num_nodes, num_ranks, old_global_expert_indices=None):
        map = super().rebalance_experts(weight, num_replicas, num_groups, num_nodes, num_ranks,
                                        old_global_expert_indices)
        physical, counts = inverse_maps(_to_numpy(map), weight.shape[-1])
        return map, _like(weight, physical), _like(weight, counts)


def rebalance_experts(weight, num_replicas, num_groups, num_nodes, num_gpus):
    """As DeepSeek's EPLB has it: three maps, from nothing."""
    return EnginePolicyThreeMaps.rebalance_experts(weight, num_replicas, num_groups, num_nodes, num_gpus)
