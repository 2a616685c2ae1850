"""What must hold of diagrams: they run as their modules do, and are a calculus of their own."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import blockyard as by
from blockyard.core import UsageError
from blockyard.diagram import Affine, diagram, function, linear, reading, wire
from blockyard.diagram.outline import lines, outline, sketch
from blockyard.diagram.picture import picture
from blockyard.diagram.proof import proof
from blockyard.diagram.text import listing
from blockyard.kernels.dispatch import force

SIZES = {"b": 3, "t": 5, "d": 4, "e": 6, "h": 2}
PARTS = [
    ("llama", "steps.0.part", {"mixer.heads": 4, "mixer.kv_heads": 2}),
    ("gpt2", "steps.0.part", {}),
    ("llama", "steps.0.part", {"mixer": "linear_attention"}),
    ("llama", "steps.1.part", {}),
    ("llama", "steps.0.part", {"mixer": "short_conv"}),
    ("switch", "steps.1.part", {}),
    ("vit", "stem", {}),
    ("itransformer", "", {}),
    ("convnext", "steps.0.part", {}),
    ("encoder_decoder", "", {}),
]


SLOW = pytest.mark.slow


def model(name, seed=0, **overrides):
    return by.build(name, size="tiny", seed=seed, **overrides).double()


def x(*axes, seed=0):
    return torch.randn(*(SIZES[a] for a in axes), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def matrix(a="d", b="e"):
    """A learned map from one axis to another, as a diagram of one box, and its numbers."""
    return linear(("t", a), (a, b), out=("t", b), sizes=SIZES), x(a, b, seed=1)


@pytest.mark.parametrize(
    "name, path, overrides",
    [*PARTS[:6], *(pytest.param(*part, marks=SLOW) for part in PARTS[6:])],
    ids=lambda w: str(w),
)
def test_a_diagram_runs_as_its_module(name, path, overrides):
    """(1) the einsums give what the module gives; (3) and say how many multiply-adds the framework counts."""
    held = proof(model(name, **overrides), path)
    assert held.difference < 1e-12
    assert held.counted == held.said > 0


@pytest.mark.parametrize("name", ["llama", *(pytest.param(name, marks=SLOW) for name in ("vit", "switch"))])
def test_parameters_are_those_of_the_module(name):
    """(1) every learned number stands in the diagram once."""
    made = model(name)
    assert diagram(made).parameters() == sum(p.numel() for p in made.parameters())


class Shapes(TorchDispatchMode):
    """The shapes of all products that run."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if "mm" in func._schema.name:
            self.found.append(out.numel())
        return out


@pytest.mark.parametrize("rows, length", [(2, 9), pytest.param(3, 13, marks=SLOW), pytest.param(4, 6, marks=SLOW)])
def test_shapes_at_other_sizes_are_those_that_run(rows, length):
    """(2) a diagram that was read at one size says the shapes at another."""
    made = model("gpt2")
    read = diagram(made)
    said = [
        torch.Size(read.shape(box.gives[0][0], B=rows, T=length, **{"T'": length})).numel()
        for box in read.boxes
        if box.run is None and len(box.reads) > 1
    ]
    with torch.no_grad(), force("reference"), Shapes() as ran:
        made(made.example(rows, length))
    assert said == ran.found


def test_names_of_axes_mean_nothing():
    """(4) renamed, the same map; two axes never get one name."""
    read = diagram(model("gpt2"), "steps.0.part")
    given = torch.randn(5, 7, 32, dtype=torch.float64)
    other = read.renamed({"T": "place", "stream": "channels"})
    assert torch.equal(read(given), other(given))
    assert "channels" in listing(other) and "stream" not in other.sizes
    with pytest.raises(UsageError, match="one name"):
        read.renamed({"T": "B"})


def test_bundles_that_do_not_match_are_refused():
    """(5) what goes out must be what comes in, axis by axis, and of the same size."""
    up, w = matrix()
    down = linear(("t", "e"), out=("t",), sizes=SIZES)
    assert torch.allclose(up.then(down)(x("t", "d"), w), (x("t", "d") @ w).sum(1))
    with pytest.raises(UsageError, match=r"\(t=5 e=6\) goes out, and \(t=5 d=4\)"):
        up.then(linear(("t", "d"), out=("t",), sizes=SIZES))
    larger = linear(("t", "e"), out=("t",), sizes={**SIZES, "e": 7})
    with pytest.raises(UsageError, match=r"\(t=5 e=6\) goes out, and \(t=5 e=7\)"):
        up.then(larger)
    with pytest.raises(UsageError, match="axis e is 6 here and 7 there"):
        up.beside(larger)
    with pytest.raises(UsageError, match="takes 2 tensors"):
        up(w)
    with pytest.raises(UsageError, match=r"x is \(t=5 d=4\), that is \[5, 4\], not \[4, 5\]"):
        up(x("d", "t"), w)


def test_a_linear_box_moves_past_what_passes_by():
    """(6) first here then there, or the other way round; and spreading along an axis before or after a map."""
    f, g = linear(("t", "d"), out=("t",), sizes=SIZES), linear(("e", "h"), out=("h",), sizes=SIZES)
    pass_f, pass_g = wire(("t",), SIZES), wire(("e", "h"), SIZES)
    given = x("t", "d"), x("e", "h")
    one = f.beside(pass_g).then(pass_f.beside(g))
    two = wire(("t", "d"), SIZES).beside(g).then(f.beside(wire(("h",), SIZES)))
    for a, b in zip(one(*given), two(*given)):
        assert torch.equal(a, b)
    spread = reading(("t",), (Affine.of("t"),), ("h", "t"), SIZES)
    after = f.then(spread)(given[0])
    before = reading(("t", "d"), (Affine.of("t"), Affine.of("d")), ("h", "t", "d"), SIZES).then(f.lifted("h", 2))
    assert after.shape == (2, 5) and torch.allclose(after, before(given[0]))


def test_drawing_twice_gives_the_same_picture():
    """(7) of a part's inside and of whole architectures; two stand side by side, what differs in another colour."""
    llama, gla = model("llama"), model("gla")
    assert picture(diagram(llama, "steps.0.part"), "a") == picture(diagram(model("llama", 1), "steps.0.part"), "a")
    assert sketch([("llama", llama)]) == sketch([("llama", model("llama", 3))])
    assert 'class="l"' not in sketch([("a", llama), ("b", llama)])
    assert sketch([("a", llama), ("b", gla)]).count('class="l"') == 6
    assert [row.times for row in outline(llama)] == [1, 2, 2, 1]
    assert "mixer:attention" in lines("llama", llama)


@pytest.mark.parametrize("only", [None, ("x",), ("y",)])
def test_index_before_is_index_after(only):
    """(8) along every place of a lifted axis, outer (all operands) and inner (one), against vmap."""
    both, w = linear(("t", "d"), ("d", "e"), out=("t", "e"), sizes=SIZES), x("d", "e", seed=4)
    wide = both.lifted("c", 7, only)
    names = both.takes if only is None else only
    draw = torch.Generator().manual_seed(5)
    plain = {"x": x("t", "d"), "y": w}
    given = [
        torch.randn(7, *plain[n].shape, dtype=torch.float64, generator=draw) if n in names else plain[n]
        for n in both.takes
    ]
    for c in range(7):
        one = [t[c] if n in names else t for n, t in zip(both.takes, given)]
        assert torch.allclose(wide(*given)[c], both(*one))
    vmapped = torch.vmap(both, in_dims=tuple(0 if n in names else None for n in both.takes))
    assert torch.allclose(wide(*given), vmapped(*given))


def test_what_is_no_einsum_is_lifted_too():
    """(8) a whole part along one more axis is the part at each of its places; functions on an axis likewise."""
    read = diagram(model("gpt2"), "steps.0.part")
    given = torch.randn(3, 5, 7, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wide = read.lifted("c", 3)
    for c in range(3):
        assert torch.allclose(wide(given)[c], read(given[c]))
    softmax = function("softmax", lambda t: t.softmax(-1), ("t", "d"), ("t", "d"), SIZES)
    rows = torch.stack([x("t", "d", seed=i) for i in range(4)])
    assert torch.allclose(softmax.lifted("c", 4)(rows), rows.softmax(-1))
    with pytest.raises(UsageError, match="axis t already"):
        softmax.lifted("t", 4)


def test_reads_are_sums_of_indices():
    """(9) a transpose, a diagonal and a one-dimensional convolution; outside of what there is stand zeros."""
    m, square = x("d", "e"), torch.randn(4, 4, dtype=torch.float64)
    turned = reading(("d", "e"), (Affine.of("d"), Affine.of("e")), ("e", "d"), SIZES)
    assert torch.equal(turned(m), m.T)
    diagonal = reading(("d", "d2"), (Affine.of("d"), Affine.of("d")), ("d",), {"d": 4, "d2": 4})
    assert torch.equal(diagonal(square), square.diagonal())
    signal, taps = x("t"), torch.randn(3, dtype=torch.float64)
    windows = reading(("t",), (Affine((("t", 1), ("k", 1)), -1),), ("t", "k"), {"t": 5, "k": 3})
    slide = windows.beside(wire(("k",), {"k": 3})).then(linear(("t", "k"), ("k",), out=("t",), sizes={"t": 5, "k": 3}))
    wanted = torch.nn.functional.conv1d(signal[None, None], taps[None, None], padding=1)[0, 0]
    assert torch.allclose(slide(signal, taps), wanted)
    halves = reading(("e",), (Affine((("a", 3), ("c", 1)), 0),), ("a", "c"), {"e": 6, "a": 2, "c": 3})
    assert torch.equal(halves(torch.arange(6.0)), torch.arange(6.0).view(2, 3))


def test_experts_stay_one_box_with_their_operations():
    """What goes where is decided by numbers: a box with the shape that it declares."""
    read = diagram(model("switch"))
    closed = [box for box in read.boxes if box.run is not None and box.ops]
    assert closed and all(read.wires[box.gives[0][0]][-1] == "stream" for box in closed)


def test_a_part_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match=r"no part at steps\.9"):
        diagram(model("llama"), "steps.9")


def written_here(x):
    y = torch.zeros(x.shape, dtype=x.dtype)
    y[:, 1:] = x[:, :-1]
    return y


def added_here(x):
    return torch.zeros(x.shape, dtype=x.dtype).add_(x)


def filled_later(x):
    y = torch.zeros(x.shape, dtype=x.dtype)
    first = x + y
    y.fill_(3)
    return first + y


def seen_before(x):
    y = 1 * x
    late = y[:, 1:]
    y.mul_(2)
    return torch.cat([x[:, :1], late], 1)


def by_memory(x):
    return x.transpose(0, 1).as_strided(x.shape, x.stride()) * 2


def one_of(x):
    """Of size 1, spread over seven places."""
    return x[:, :, :1].expand(-1, -1, 7)


SQUARE = torch.randn(32, 32, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
RIGHT = {
    "written into zeros": added_here,
    "other constants later": filled_later,
    "written into a copy": lambda x: x + x.clone().mul_(2),
    "a cast on the way in": lambda x: torch.zeros(x.shape, dtype=torch.float32).copy_(x).double(),
    "a spread axis summed": lambda x: x + one_of(x).sum(-1, keepdim=True),
    "a spread axis contracted": lambda x: one_of(x) @ one_of(2 * x).transpose(1, 2) @ x,
    "softmax of a spread axis": lambda x: x[..., :7] + one_of(x).softmax(-1),
    "running sums of a spread axis": lambda x: x[:, :1].expand(-1, x.shape[1], -1).cumsum(1),
    "logsumexp of a spread axis": lambda x: x + one_of(x).logsumexp(-1, keepdim=True),
    "a spread axis side by side": lambda x: torch.cat([x[:, :1].expand(-1, 3, -1), x[:, 3:]], 1),
    "written along a spread axis": lambda x: x[:, :1].expand(-1, x.shape[1], -1).clone().add_(x),
    "the mean of one": lambda x: x + x[:, :, :1].mean(-1, keepdim=True),
    "softmax of one": lambda x: x + x.unsqueeze(-1).softmax(-1)[..., 0],
    "zeros around one": lambda x: torch.conv2d(x.mT[..., None], SQUARE, padding=1)[..., 0].mT,
    "bits as other numbers": lambda x: (x.view(torch.int64) >> 3).double(),
    "whole numbers before the sum": lambda x: (5 * x).cumsum(-1, dtype=torch.long).double(),
    "scattered": lambda x: torch.zeros(x.shape, dtype=x.dtype).scatter_add_(-1, x.argsort(-1) // 2, x),
    "gathered": lambda x: x.gather(-1, x.argsort(-1)),
    "a number taken out": lambda x: x / float(x.abs().max()),
    "a way that numbers choose": lambda x: x if bool(x.sum() > 0) else -x,
}
REFUSED = {
    "written into a view": (written_here, "written"),
    "written into what a view sees": (seen_before, "a view of it was written into"),
    "by places in memory": (by_memory, "as_strided reads numbers by where they lie"),
    "drawn": (lambda x: x + torch.rand(x.shape, dtype=x.dtype), "rand draws other numbers"),
    "out of the framework": (lambda x: x + torch.from_numpy((2 * x).numpy().copy()), "ways that cannot be seen"),
    "into what is given": (lambda x: torch.add(x, x, out=torch.zeros_like(x)), "given as out"),
}


def channel_as(made, run):
    """A model whose second step's part is this function of what it is given."""
    made.steps[1].part.forward = lambda x, *rest: (run(x), None)
    return diagram(made, "steps.1.part")


@pytest.mark.parametrize("run", RIGHT.values(), ids=RIGHT)
def test_what_is_written_spread_or_cast_is_right(run):
    """(1) On rows that were not read: both signs of the sum, and other largest numbers."""
    read = channel_as(model("llama"), lambda x: wide(run(x)))
    given = torch.randn(5, 7, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(9))
    for x in (given, 1 - given):
        found, wanted = read(x), wide(run(x.clone()))
        assert found.dtype == wanted.dtype and torch.allclose(found, wanted)


def wide(x):
    """(5,7,32), whatever comes: what a step writes."""
    return x if x.shape[-1] == 32 else torch.nn.functional.pad(x, (0, 32 - x.shape[-1]))


@pytest.mark.parametrize("run, words", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_followed_is_refused(run, words):
    """(1) And never drawn as the numbers that it was read on."""
    with pytest.raises(UsageError, match=words):
        channel_as(model("llama"), run)


def test_a_part_that_reads_other_rows_is_refused():
    """(1) What another stream leaves is no input of the part: it would stand there as a constant."""
    made = model("encoder_decoder")
    paths = [step.part.path for step in made.steps if "cross" in step.part.spec.name or "cross" in step.part.path]
    with pytest.raises(UsageError, match="in front of the part"):
        diagram(made, paths[0])
