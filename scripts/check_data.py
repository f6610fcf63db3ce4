"""Check a data set from a checkout: python scripts/check_data.py dataset=folder dataset.root=my_images."""

import sys

from unet_train.commands import data, shell

if __name__ == "__main__":
    shell.main("data", data.data, ["check", *sys.argv[1:]])
