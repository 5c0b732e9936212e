"""``python -m medseg`` is the ``medseg`` command."""

from medseg.cli.main import run

if __name__ == "__main__":
    run()
