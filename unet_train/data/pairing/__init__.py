"""Which image goes with which masks: names alone are looked at, and few files opened where names do not tell."""
