"""The command line: one thin module a command, and no arithmetic."""
