"""Keras models that a user built, computed token by token.

`watching` runs the whole forward pass once and notes how each layer is called. `layer_step` is the
interface of what a layer that looks at other tokens does with one token, and `kinds` holds one file
for each kind of layer. `model` joins them to a network with `cached_step`, and compares it with the
whole forward pass.
"""
