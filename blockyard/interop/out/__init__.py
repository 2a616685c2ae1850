"""One file a form that a model leaves in. Its name is the form's; it has `write(model, out, kept, name)`.

`write` makes the file or the folder `out`, which was not there, and returns what there is to say of it. `kept`: the
files that a saved model has beside its numbers, by name; `name`: what stands behind the form's name and a colon.
"""
