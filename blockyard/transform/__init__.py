"""From a model to another one: narrower, wider, merged, quantised. Every result has a spec that rebuilds it."""
