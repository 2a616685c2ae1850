"""One file per `model_type` of transformers: how its config.json becomes a spec, and what its tensors are called.

The file name is the model type. A file has `spec(fields)`, which reads every setting it knows and refuses what the
recipe cannot express, and `NAMES`, the table of tensor names.
"""
