"""A plan for training on a data set: figures of the data and the machine in, keys with their reasons out."""
