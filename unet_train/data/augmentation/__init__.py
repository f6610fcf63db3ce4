"""Random transforms, the elastic grid, pasted copies, and whether images may be turned."""
