"""From a spec to a module: build, run, save, load, count."""
