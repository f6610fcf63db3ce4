"""Write docs/reference.md anew from the schema and the YAML: python scripts/write_reference.py"""

from pathlib import Path

from unet_train.config.reference import write_reference

if __name__ == "__main__":
    write_reference(Path(__file__).resolve().parent.parent / "docs" / "reference.md")
