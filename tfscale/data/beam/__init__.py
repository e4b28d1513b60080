"""The engine `beam`: the steps of `tfscale prepare` as one pipeline of Apache Beam.

Texts and tokens lie in files of a folder that all workers see; what goes through the pipeline are
the files' names, digests and signatures. A file gets a name of its own, and only what a step
returns is used. So a step may run twice, and nothing is there twice.

| module | step |
|---|---|
| `reading` | files to cleaned and filtered documents, some thousands in a file (`documents`) |
| `duplicates`, `near_duplicates` | which of them are dropped because of an earlier one |
| `choosing` | the table of those that are kept |
| `ordering` | one step that sees all tables: borders of the splits, batches, the sample |
| `tokenizing` | the tokenizer, and the tokens of each batch |
| `writing` | one step that sees all counts: where shards begin; then the shards |
| `pipeline` | the steps together, and what comes after |
| `folder`, `step`, `job` | the shared folder, errors in it, and what every step knows |
| `options`, `running` | Beam's options, runners and errors |
"""
