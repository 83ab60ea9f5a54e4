"""What stands between a command and the machine: errors in one line, whole files, packages, signals, the terminal.

May import no other room.
"""
