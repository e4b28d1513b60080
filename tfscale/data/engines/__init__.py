"""What does the work of `tfscale prepare`: a file for each engine, named as `--engine` names it."""
