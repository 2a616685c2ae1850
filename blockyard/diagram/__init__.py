"""Circuits of models: wires that are rows of named axes, boxes that are einsums or functions, read off a module."""

from blockyard.diagram.affine import Affine
from blockyard.diagram.box import Box, Read
from blockyard.diagram.diagram import Diagram, function, linear, reading, wire
from blockyard.diagram.trace import diagram

__all__ = ["Affine", "Box", "Diagram", "Read", "diagram", "function", "linear", "reading", "wire"]
