"""Graphs as ExecuTorch's delegate takes them whole: what it has no operator for is said in others, before it is asked.

What a delegate leaves out costs twice: a portable kernel is slower, and cuts the network into two delegates that copy
what goes from one to the other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mnv2dense.export.formats.common import EnlargedValues
from mnv2dense.utils.untyped import Untyped


class XnnpackOperators(EnlargedValues):
    """Inside, a graph is made of what XNNPACK has: no views of a column, and no nearest neighbours."""

    def __torch_function__(self, func: Untyped, types: Untyped, args: Untyped = (), kwargs: Untyped = None) -> Untyped:
        if func is Tensor.unbind and args[1:] == (-1,):
            x = args[0]
            return tuple(x[..., column : column + 1].reshape(x.shape[:-1]) for column in range(x.shape[-1]))
        named = kwargs or {}
        if func is F.interpolate and (named.get("mode"), named.get("scale_factor")) == ("nearest", 2.0):
            return _doubled(args[0])
        return super().__torch_function__(func, types, args, kwargs)


def _doubled(x: Tensor) -> Tensor:
    """[..., H, W] -> [..., 2 H, 2 W], every cell four times."""
    # Of two views each, as no delegate takes a concatenation of one tensor with itself.
    wide = torch.cat((x.unsqueeze(-1), x.unsqueeze(-1)), dim=-1)
    rows = torch.cat((wide.flatten(-2), wide.flatten(-2)), dim=-1)
    return rows.reshape(*x.shape[:-2], 2 * x.shape[-2], 2 * x.shape[-1])


def with_constants_computed(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The same with what follows from constants alone computed here, and not at every run."""
    from executorch.exir.passes.constant_prop_pass import constant_prop_pass

    computed: torch.export.ExportedProgram = constant_prop_pass(program)
    return computed


def with_padding_inside(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The same, convolutions padding by themselves where both ends of a side get as much: no copy of the image.

    TensorFlow's padding is such of odd sides.
    """
    # What follows the image: weight, bias, stride, padding, dilation, groups.
    usual: list[Untyped] = [None, None, [1, 1], [0, 0], [1, 1], 1]
    for node in program.graph.find_nodes(op="call_function", target=torch.ops.aten.conv2d.default):
        arguments: Untyped = node.args
        pad = arguments[0]
        if pad.target is not torch.ops.aten.pad.default or len(pad.args) > 2:
            continue
        left, right, top, bottom = pad.args[1]
        if (left, top) == (right, bottom):
            whole = [*arguments[1:], *usual[len(arguments) - 1 :]]
            rows, columns = whole[3]
            whole[3] = [rows + top, columns + left]
            node.args = (pad.args[0], *whole)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program
