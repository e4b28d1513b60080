"""`tfscale compress`: a run to a smaller one."""

from jsonargparse import Namespace

from tfscale.commands import train
from tfscale.commands.command import Command
from tfscale.commands.parser import RUN_DIR, build_config
from tfscale.config.compression import CompressConfig, DistillConfig, PruneConfig, SearchConfig
from tfscale.config.shrinking import ShrinkConfig
from tfscale.files.json_text import JsonObject
from tfscale.terminal import print
from tfscale.ui.tables import number, print_table


def run(options: Namespace) -> JsonObject:
    """Fine-tunes; returns the summary of the new run."""
    from tfscale.api import compress_

    result = compress_(
        options.run_dir,
        build_config(CompressConfig, options),
        build_config(PruneConfig, options, "prune"),
        build_config(ShrinkConfig, options, "shrink"),
        build_config(DistillConfig, options, "distill"),
        build_config(SearchConfig, options),
    )
    return {**result, "output": options.output}


def show(result: JsonObject) -> None:
    """Prints what train prints, what is zero, and validations; of a search, all that it tried."""
    if "stopped_at" in result:
        name, step = result["stopped_at"]
        print(
            f"stopped by {result['interrupted']} at step {step:,} of {name}; the same command goes"
            " on from there"
        )
        return
    if "candidates" in result:
        from tfscale.workflows.search.outcome import head, legend, table_rows, verdict

        print_table(
            head(result),
            [
                [value if isinstance(value, str) else number(value) for value in row]
                for row in table_rows(result)
            ],
        )
        for name, meaning in legend(result):
            print(f"{name}: {meaning}")
        print(f"{verdict(result)}; {result['steps']:,} steps; {result['export']}")
        return
    train.show(result)
    rows = [[path, number(fraction)] for path, fraction in result["sparsity"].items()]
    if rows:
        print_table(
            ["weight", "zeros"], [*rows, ["all of these", number(result["sparsity_of_pruned"])]]
        )
    print(
        f"parameters {number(result['parameters_before'])} before, {number(result['parameters'])}"
        " after"
    )
    before, after = result["validation_before"], result["validation"]
    if before and after:
        name = "pseudo_perplexity" if "pseudo_perplexity" in before else "perplexity"
        print(
            f"validation {name.replace('_', '-')} {number(before[name])} before,"
            f" {number(after[name])} after"
        )


def exit_code(result: JsonObject) -> int:
    """Returns the exit code of train; 1 for a search whose bounds are not met."""
    return (0 if result["met"] else 1) if "met" in result else train.exit_code(result)


COMMAND = Command(
    name="compress",
    description="Takes units out of a trained run (shrink), sets weights to zero (prune) and rounds"
    " them for a recipe of export (quantize) while it is trained on, with its own earlier"
    " predictions as a guide if wanted (distill). Writes a new run, which evaluates and exports"
    " like any other. With a bound (target-size, max-perplexity-increase,"
    " target-tokens-per-second) it finds out by itself what to do, and writes the exported file"
    " and a table of all that it tried; with target-text it tries smaller vocabularies, too."
    " The same command goes on with what was stopped.",
    takes=(
        RUN_DIR,
        CompressConfig,
        SearchConfig,
        (ShrinkConfig, "shrink"),
        (PruneConfig, "prune"),
        (DistillConfig, "distill"),
    ),
    run=run,
    show=show,
    exit_code=exit_code,
)
