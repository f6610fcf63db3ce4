"""From records to batches: the training set, its crops, and the loader."""
