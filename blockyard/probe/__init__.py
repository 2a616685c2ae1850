"""Read-only looks inside a model: (model, data, controls) -> {name: array}; the weights stay as they are.

    state_probe(model, tokens)["steps.0.part:horizon"]       what a recurrent memory keeps, and for how long
    copying_probe(model, rows)["gap"]                        what a second reading of the same text saves
    recall_probe(model, ids)["saved"]                        what a pair in the context saves on its value
    step_cosine_probe(model, rows)["steps.0.part"]           how little a step changes the stream
    step_gradients_probe(model, rows)["steps.0.part"]        how large the gradient is of what each step writes
    by_depth_probe(model, rows)["steps.0.part:stream"]       how stream, gradient and attention look, step by step
    step_skip_probe(model, rows)["steps.0.part"]             what the loss rises by where a step is left out
    path_orders_probe(model, rows)["order 1"]                what goes through k of the sublayers, by k
    sharpness_probe(model, rows)["largest"]                  how sharply the loss curves where a model stands
    exit_losses_probe(model, rows)["loss"]                   what is lost by reading a model behind each of its blocks
    imitation_probe(model, pairs)["from ridge"]              how far a model is from rules that learn from a context
    attention_distance_probe(model, rows, other)             how differently two models look at the same tokens
    readout_probe(model, pairs)["steps.0.part:weights"]      where in the layers the weights of a context can be read
    sparsity_probe(model, rows)["steps.1.part"]              which share of the units inside a channel fire
    attention_entropy_probe(model, rows)["steps.0.part"]     how widely the heads of a layer spread their attention
    attention_map_probe(model, rows)["steps.0.part:induction"]    what each head looks at
    circuits_probe(model, rows)["steps.1.part>steps.3.part"]      which earlier features a later one reads
    direction_probe(model, rows, kinds)["steps.0.part"]      along which direction the stream tells two kinds apart
    entropy_neurons_probe(model, rows)["steps.1.part:chosen"]     which units set how sure a model is
    effective_rank_probe(model, rows)["steps.0.part:effective"]   how many directions the stream uses
    kfac_probe(model, rows)["steps.1.part.up:in"]            along which directions the loss curves
    linear_probe(model, rows, labels)["steps.0.part"]        what one matrix can read off the stream, or an inner value
    logit_lens_probe(model, rows)["steps.0.part:kl"]         what a model would say at each depth
    patch_probe(model, rows, other)["map"]                   at which layer and token what decides an answer stands

Arrays are of numpy, in single or double precision.
"""

from blockyard.probe.attention_distance import attention_distance_probe
from blockyard.probe.attention_entropy import attention_entropy_probe
from blockyard.probe.attention_map import attention_map_probe
from blockyard.probe.by_depth import by_depth_probe
from blockyard.probe.circuits import circuits_probe
from blockyard.probe.copying import copying_probe
from blockyard.probe.direction import direction_probe
from blockyard.probe.effective_rank import effective_rank_probe
from blockyard.probe.entropy_neurons import entropy_neurons_probe
from blockyard.probe.exit_losses import exit_losses_probe
from blockyard.probe.imitation import imitation_probe
from blockyard.probe.kfac import kfac_probe
from blockyard.probe.linear import linear_probe
from blockyard.probe.logit_lens import logit_lens_probe
from blockyard.probe.patch import patch_probe
from blockyard.probe.path_orders import path_orders_probe
from blockyard.probe.readout import readout_probe
from blockyard.probe.recall import recall_probe
from blockyard.probe.sharpness import sharpness_probe
from blockyard.probe.sparsity import sparsity_probe
from blockyard.probe.state import state_probe
from blockyard.probe.step_cosine import step_cosine_probe
from blockyard.probe.step_gradients import step_gradients_probe
from blockyard.probe.step_skip import step_skip_probe

__all__ = [
    "attention_distance_probe", "attention_entropy_probe", "attention_map_probe", "by_depth_probe", "circuits_probe",
    "copying_probe", "direction_probe", "effective_rank_probe", "entropy_neurons_probe", "exit_losses_probe",
    "imitation_probe", "kfac_probe", "linear_probe", "logit_lens_probe", "patch_probe", "path_orders_probe",
    "readout_probe", "recall_probe", "sharpness_probe", "sparsity_probe", "state_probe", "step_cosine_probe",
    "step_gradients_probe", "step_skip_probe",
]  # fmt: skip
