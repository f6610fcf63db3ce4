"""Fetch a data set from a checkout: python scripts/fetch_data.py phc_u373 (the same as unet-data fetch phc_u373)."""

import sys

from unet_train.commands import data, shell

if __name__ == "__main__":
    shell.main("data", data.data, ["fetch", *sys.argv[1:]])
