"""From a cfg to all the files of a run: what the commands share, without the command line."""
