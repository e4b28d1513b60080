"""The engines of `tfscale prepare`, one file for each, named as `--engine` names it."""
