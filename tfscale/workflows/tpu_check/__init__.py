"""What can be said about a TPU without one: the real TPU compiler, from the `libtpu` wheel,
compiles our steps."""
