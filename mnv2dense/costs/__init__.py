"""What a model costs: parameters, multiply-adds, memory; and inference in channel groups."""

from mnv2dense.costs.complexity import Complexity
from mnv2dense.models.split import memory_bound, split_inference

__all__ = ["Complexity", "memory_bound", "split_inference"]
