"""From a Graph to a Program: steps, groups of steps, memory; ``print(plan)`` shows them."""

from ..graph import IMAGE
from ..kernels import strassen
from ..kernels.tile import PANELS
from ..kernels.vector import LANES
from ..layers import Concat
from ..transform import parts
from .buffers import Buffer, Layout, Place, assign, most
from .encode import encode
from .groups import groups_of
from .products import Blocks, Spread, Strassen
from .steps import Copy, Foreign, Mean, Sums, kind_for


class Plan:
    """A compiled network for one image shape.

    Attributes
    ----------
    steps : list of Step
    groups : list of Group
    bands : list of list of (first, last), or None
        For each group that is not cut by columns.
    output : Place
    size, private : int
        Numbers of memory that all threads share, and of each one's own.
    program : Program
    sections : list of (first, last) phase, or Foreign
        What to run, in order.
    """

    def __init__(self, net, shape, threads):
        self.shape, self.threads = tuple(shape), threads
        layout = Layout(net, self.shape, wanted_padding(net, self.shape))
        self.steps, self.output = list(steps_of(net, layout)), layout.places[net.output_name]
        self.groups = groups_of(self.steps)
        self.bands = [None if group.by_columns or group.is_foreign else group.bands(threads)
                      for group in self.groups]
        self.place_buffers()
        self.program, self.sections = encode(self)

    def place_buffers(self):
        """Offsets for all buffers: of the shared memory, and of what each thread has for itself."""
        uses = {}                                       # buffer: the groups that write or read it
        for g, group in enumerate(self.groups):
            for step in group.steps:
                for place in (*step.sources, step.target):
                    if not place.buffer.is_image:
                        uses.setdefault(place.buffer, set()).add(g)
        own = {buffer: g for buffer, (g, *others) in uses.items() if not others and self.can_be_private(buffer, g)}
        for buffer, g in own.items():
            self.make_private(buffer, g)
        for group, bands in zip(self.groups, self.bands):
            if isinstance(group.steps[-1], Sums):       # a line of sums for each band, of each tap
                group.steps[-1].target.buffer.H = len(bands) * max(1, len(group.taps))
            for step in group.steps if group.taps else ():         # now that their buffers are what they will be
                step.interleave(*group.steps[0].layer.kernel)
        times = {buffer: (min(groups), max(groups)) for buffer, groups in uses.items()}
        for buffer in times:
            if buffer.is_padded or buffer is self.output.buffer:        # zeros around that must stay; what is read in the end
                times[buffer] = 0, len(self.groups)
        self.size = assign([buffer for buffer in uses if buffer not in own], times)
        self.private = scratch = assign(own, times)
        for group, bands in zip(self.groups, self.bands):
            for step in group.steps:
                numbers = step.use_scratch(scratch, max(last - first for first, last in bands or [(0, step.lines)]))
                self.private = max(self.private, scratch + numbers)
        self.private = -(-self.private // LANES) * LANES

    def can_be_private(self, buffer, g):
        """Whether a buffer that group g alone uses may hold a band only, for each thread."""
        # Strassen's method writes all lines before the next step reads the first
        at_once = any(isinstance(step, Strassen) and step.target.buffer is buffer for step in self.groups[g].steps)
        return bool(self.bands[g]) and not (buffer.is_padded or buffer is self.output.buffer or at_once) and buffer.H > 1

    def make_private(self, buffer, g):
        """Let it hold as many rows as a band has; behind a transposed convolution, tap by tap, rows of the small image."""
        group, bands = self.groups[g], self.bands[g]
        if group.taps:
            buffer.lines = max(last - first for first, last in bands)
            buffer.W //= group.steps[0].layer.kernel[1]
        else:
            buffer.lines = max(last - first for band in bands for step, (first, last) in group.ranges(band).items()
                               if step.target.buffer is buffer)

    def __str__(self):
        H, W, C = self.shape
        lines = [f"An image of {H}x{W}x{C} on {self.threads} thread{'s' * (self.threads > 1)}: {len(self.groups)} phases; "
                 f"{self.size * 4 / 1e6:.1f} MB of buffers, {self.private * 4 / 1e6:.1f} MB more for each thread, "
                 f"{self.program.weights.nbytes / 1e6:.1f} MB of weights", ""]
        for number, (group, bands) in enumerate(zip(self.groups, self.bands)):
            lines.append(f"{number:3} {self.cut(group, bands)}")
            for step in group.steps:
                buffer = step.target.buffer
                where = f"own buffer, {buffer.lines} lines" if buffer.lines else f"at {buffer.offset * 4 / 1e6:.2f} MB"
                size = " x ".join(map(str, step.target.shape))
                lines.append(f"      {step.name:20} {step.described:32} {size:16} {where}, {buffer.size * 4 / 1e3:.0f} kB")
        return "\n".join(lines)

    def cut(self, group, bands):
        """How a group is cut into units, in words."""
        if group.is_foreign:
            return "the layer's own forward"
        if group.by_columns:
            return f"columns, in {min(self.threads, -(-group.steps[0].panels // PANELS))}"
        units = f"bands of {max(last - first for first, last in bands)} lines" if len(bands) > 1 else "all lines"
        together = f" in {group.steps[0].together}s" if group.taps and group.steps[0].together > 1 else ""
        return f"{len(group.taps)} taps{together}, {units}" if group.taps else units


def wanted_padding(net, shape):
    """For each value the zeros around it that its readers want."""
    shapes = net.shapes((1, *shape))
    wanted = {name: ((0, 0), (0, 0)) for name in shapes}
    for node in net.nodes.values():
        around = kind_for(node.layer).padding(parts(node.layer)[0], shapes[node.name][1:])
        for name in node.inputs:
            wanted[name] = most(wanted[name], around)
    return wanted


def steps_of(net, layout):
    """The nodes as steps, in order: most are one; a Concat that is filled in place is none."""
    if layout.copied:
        yield Copy("image", Concat(), None, [layout.places[IMAGE]], layout.copied)
    for node in net.nodes.values():
        kind, (layer, activation), target = kind_for(node.layer), parts(node.layer), layout.places[node.name]
        sources = [layout.reading(name) for name in node.inputs]
        if kind is Foreign:
            yield Foreign(node.name, node.layer, None, sources, target)
        elif type(layer) is Concat:
            channel = target.channel
            for name, source in zip(node.inputs, sources):
                if not layout.is_filled(node, name):
                    yield Copy(node.name, layer, None, [source], Place(target.buffer, channel, source.shape))
                channel += source.shape[-1]
        elif kind is Sums:
            sums = Place(Buffer(f"{node.name} sums", 1, 1, target.size[2]), 0, target.size)
            yield Sums(node.name, layer, None, sources, sums)
            yield Mean(node.name, layer, None, [sums], target, pixels=sources[0].size[0] * sources[0].size[1])
        elif kind is Spread and activation is None and strassen.suits(layer.kernel, sources[0].size, layer.out_channels):
            blocks = Blocks.place(node.name, sources[0].size)
            yield Blocks(node.name, layer, None, sources, blocks)
            yield Strassen(node.name, layer, None, [blocks], target)
        else:                                           # an Add of many values is several of two
            for n, second in enumerate(sources[1:] or [None]):
                pair = [sources[0] if n == 0 else target, second]
                yield kind(node.name, layer, activation, [place for place in pair if place], target)
