"""Input to `fit`: data, arguments, callbacks and progress as Keras takes them."""
