"""The command line: one thin module per command, and no arithmetic."""
