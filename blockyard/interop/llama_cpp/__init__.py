"""What llama.cpp runs, one file for each model type of transformers: its architecture, settings and tensors there.

    llama.py    RUNS = Runs(arch="llama", keys=..., changes=...)

A model type with a file here is written by `blockyard export MODEL --to gguf`.
"""
