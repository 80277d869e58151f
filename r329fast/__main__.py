"""`python -m r329fast`: the command line where no script is installed."""

from r329fast.cli.main import run

if __name__ == "__main__":
    run()
