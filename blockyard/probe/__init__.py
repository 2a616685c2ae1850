"""Read-only looks inside a model: (model, data, controls) -> {name: array}; the weights stay as they are.

    state_probe(model, tokens)["steps.0.part:horizon"]       what a recurrent memory keeps, and for how long
    copying_probe(model, rows)["gap"]                        what a second reading of the same text saves
    recall_probe(model, ids)["saved"]                        what a pair in the context saves on its value
    step_cosine_probe(model, rows)["steps.0.part"]           how little a step changes the stream
    exit_losses_probe(model, rows)["loss"]                   what is lost by reading a model behind each of its blocks
    imitation_probe(model, pairs)["from ridge"]              how far a model is from rules that learn from a context
    readout_probe(model, pairs)["steps.0.part:weights"]      where in the layers the weights of a context can be read

Arrays are of numpy, in single or double precision.
"""

from blockyard.probe.copying import copying_probe
from blockyard.probe.exit_losses import exit_losses_probe
from blockyard.probe.imitation import imitation_probe
from blockyard.probe.readout import readout_probe
from blockyard.probe.recall import recall_probe
from blockyard.probe.state import state_probe
from blockyard.probe.step_cosine import step_cosine_probe

__all__ = [
    "copying_probe", "exit_losses_probe", "imitation_probe", "readout_probe", "recall_probe", "state_probe",
    "step_cosine_probe",
]  # fmt: skip
