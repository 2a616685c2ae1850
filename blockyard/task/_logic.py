"""Definite rules: what follows from them, in how many steps, and by which proof; many worlds at once.

    a statement is a body of at most two atoms and a head; the head holds once its body does, a fact has no body
    depth(head) = 0 of a fact, else min over its rules of 1 + max over the body of depth

Shapes   bodies (n,S,2), heads (n,S): atoms 0..A-1, all else is no atom    depth, place (n,A), -1: it does not follow
"""

from typing import NamedTuple

import numpy as np


class Closure(NamedTuple):
    """depth (n,A): steps of the shortest proof of each atom; place (n,A): the first statement that says it then."""

    depth: np.ndarray
    place: np.ndarray

    @property
    def follows(self) -> np.ndarray:
        """(n,A) which atoms follow."""
        return self.depth >= 0

    def steps(self) -> np.ndarray:
        """(n,A) the atoms that are no facts, by depth and then by place; -1 behind the last one."""
        key = np.where(
            self.depth > 0, self.depth * (self.place.max(initial=0) + 1) + self.place, np.iinfo(np.int64).max
        )
        order = np.argsort(key, 1, kind="stable")
        return np.where(np.take_along_axis(self.depth, order, 1) > 0, order, -1)


def closure(bodies: np.ndarray, heads: np.ndarray, atoms: int, more: np.ndarray | None = None) -> Closure:
    """What follows, by rounds: each says all heads whose bodies were known before. `more` (n,A): further facts."""
    n, size = heads.shape
    rows, places = np.arange(n)[:, None], np.broadcast_to(np.arange(size), (n, size))
    bodies = np.where((bodies < 0) | (bodies >= atoms), atoms, bodies)  # nothing: it always holds
    heads = np.where((heads < 0) | (heads >= atoms), atoms, heads)
    depth, place = np.full((n, atoms + 1), -1), np.full((n, atoms + 1), -1)
    depth[:, atoms] = 0
    if more is not None:
        depth[:, :atoms][more] = 0
    fires = (bodies == atoms).all(2)
    for step in range(atoms + 1):
        said = np.full((n, atoms + 1), size)
        said[rows, np.where(fires, heads, atoms)[:, ::-1]] = places[:, ::-1]  # of several the first: it comes last
        new = (said < size) & (depth < 0)
        if not new.any() and step:
            break
        depth[new], place[new] = step, said[new]
        known = depth >= 0
        fires = known[rows[..., None], bodies].all(2)
    return Closure(depth[:, :atoms], place[:, :atoms])


def missing(bodies: np.ndarray, heads: np.ndarray, asked: np.ndarray, atoms: int) -> np.ndarray:
    """(n,) of an atom that does not follow: the steps of its shortest proof if one more atom, that nothing says, were a
    fact; -1 where that would not do."""
    n = len(heads)
    leaf = np.ones((n, atoms + 1), bool)
    leaf[np.arange(n)[:, None], np.where((heads < 0) | (heads >= atoms), atoms, heads)] = False
    row, which = np.nonzero(leaf[:, :atoms])
    more = np.zeros((len(row), atoms), bool)
    more[np.arange(len(row)), which] = True
    depth = closure(bodies[row], heads[row], atoms, more).depth[np.arange(len(row)), asked[row]]
    least = np.full(n, atoms + 1)
    np.minimum.at(least, row, np.where(depth < 0, atoms + 1, depth))
    return np.where(least > atoms, -1, least)


def proof(bodies: np.ndarray, heads: np.ndarray, asked: int, atoms: int) -> list[int]:
    """The statements of one shortest proof in a world (S,2), (S), in an order that replays; empty: there is none."""
    found = closure(bodies[None], heads[None], atoms)
    depth, place = found.depth[0], found.place[0]
    used: set[int] = set()
    open_atoms = [asked] if depth[asked] >= 0 else []
    while open_atoms:
        atom = open_atoms.pop()
        if atom not in used:
            used.add(atom)
            open_atoms += [int(each) for each in bodies[place[atom]] if 0 <= each < atoms]
    return [int(place[atom]) for atom in sorted(used, key=lambda atom: (depth[atom], place[atom]))]
