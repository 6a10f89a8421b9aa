"""``python -m realign``: the command line, for environments whose scripts are not on the path."""

from realign.cli import run

if __name__ == "__main__":
    run()
