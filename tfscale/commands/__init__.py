"""The commands, a module each with a `COMMAND`; see `tfscale.commands.command`."""
