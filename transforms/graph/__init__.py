"""A Keras model as layer calls, and what is done to them."""
