"""What every room uses: all-or-nothing writes, late imports, the machine's name."""
