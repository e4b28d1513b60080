"""The commands, a module each: SUMMARY, `build_parser()`, `parse(words)`, `run(options) -> result`,
`show(result)`.

A module imports what is heavy only inside `run`, so that help and mistakes in the options cost no
time.
"""
