"""Tables of a program: each reads a few variables of a token and looks up another one.

    r = [the variables that gates choose]        y_t = choice(W_2 relu(W_1 r_t + b_1) + b_2)

A small network while it learns, it has few different inputs, so that it is a table once choices are certain. Choices
get colder over the run, see `core/variables.py`. A table adds a categorical variable to the stream: `residual:append`
takes it.

Shapes   x (B,T,D)   r (B,T,H,R,v)   hidden (B,T,H,F)   y (B,T,H,v)
Source   arXiv 2306.01128    Slug  transformer-programs    Family  programs
Differs  reads categorical variables alone
"""

from itertools import product
from typing import Annotated, Any

import torch
from torch import Tensor

from blockyard.core import Call, Prod, Site, Sublayer, constant, normal
from blockyard.core.settings import Cold, Count, Hot, Inner, Values
from blockyard.core.variables import Names, Programmed, Told, choice, first_of, layout, sure


class Lookup(Sublayer, Programmed):
    claims = dict(causal=True, streams=True, packs=True, row_independent=True, per_token=True)
    around = dict(residual=("append", dict(norm=None)), head=("lm", dict(tied=False)))
    variants = (dict(tables=2, inner=8), dict(values=4, inner=8, reads=1))

    def __init__(
        self, site: Site, *, tables: Annotated[Count, "how many tables"] = 2,
        values: Values = 8,
        reads: Annotated[Count, "variables that a table reads"] = 2,
        inner: Annotated[Inner, "channels inside of the network that learns a table"] = 64,
        hot: Hot = 3.0, cold: Cold = 0.01,
    ) -> None:  # fmt: skip
        super().__init__()
        self.tables, self.reads, self.values = site.axis("tables", tables), site.axis("reads", reads), values
        self.layout = layout(site.stream, values, site.path)
        variables = site.axis("variables", len(self.layout.categorical))
        known, looked, hidden = site.axis("known", values), site.axis("values", values), site.axis("inner", inner)
        for axis in (self.tables, self.reads, variables, known, looked):
            axis.ordered, axis.fixed = True, "the variables of the stream and their values"
        self.gate = site.param("gate", (self.tables, self.reads, variables), normal(1.0))
        into, out = (self.tables, self.reads, known, hidden), (self.tables, hidden, looked)
        self.up = site.param("up", into, normal((2 / reads) ** 0.5))  # one of the v numbers of a variable is not zero
        self.up_bias = site.param("up_bias", (self.tables, hidden), constant(0.0))
        self.down = site.param("down", out, normal((2 / inner) ** 0.5))
        self.down_bias = site.param("down_bias", (self.tables, looked), constant(0.0))
        self.written, self.hot, self.cold = Prod(self.tables, looked), hot, cold

    def forward(self, x: Tensor, call: Call, state: Any = None) -> tuple[Tensor, Any]:
        gate = choice(self.gate, call, f"{self.path}.gate", self.hot, self.cold)
        read = torch.einsum("hrn,btnv->bthrv", gate, self.layout.variables(x))
        said = choice(self.scores(read), call, f"{self.path}.table", self.hot, self.cold)
        return said.flatten(2), state

    def scores(self, read: Tensor) -> Tensor:
        """(...,H,v) of what each table has read (...,H,R,v)."""
        hidden = (torch.einsum("...hrv,hrvf->...hf", read, self.up) + self.up_bias).relu()
        return torch.einsum("...hf,hfv->...hv", hidden, self.down) + self.down_bias

    def certain(self) -> dict[str, Tensor]:
        return {"gate": sure(self.gate.detach())}

    @torch.no_grad()
    def told(self, known: Names, step: int) -> Told:
        lines, names, kinds = list[str](), list[str](), [*range(self.values), None]
        cells = [*product(kinds, repeat=self.reads.size)]
        one_hot = torch.cat([torch.eye(self.values), torch.zeros(1, self.values)]).to(self.up)
        at = torch.tensor([[self.values if each is None else each for each in cell] for cell in cells])
        read = one_hot[at.to(self.up.device)][:, None].expand(-1, self.tables.size, -1, -1)
        answers = first_of(self.scores(read)).argmax(-1)
        for table in range(self.tables.size):
            name, held = f"lookup_{step}_{table}", dict(zip(cells, answers[:, table].tolist()))
            of = ", ".join(known.categorical[int(each)] for each in self.gate[table].argmax(-1))
            lines += [f"table_{step}_{table} = {held}", f"{name} = [table_{step}_{table}[x] for x in zip({of})]"]
            names.append(name)
        return Told(lines, Names(names))
