"""The options and the help of the commands, one file per command.

They need neither numpy nor the compiled core: what a command does is imported when it runs, from `actions/`.
"""
