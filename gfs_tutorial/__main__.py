"""The command line: ``python -m gfs_tutorial EXPERIMENT --preset quick``."""

from gfs_tutorial.experiments.command import main

if __name__ == "__main__":
    main()
