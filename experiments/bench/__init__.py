"""The bench: this library's GRU beside those of other libraries, in interleaved rounds of one process.

May import `config`, `results`, `runs`, `system` and `training`. From a config to a table:

    schema, registry      what may be asked for, and which contenders there are    (neither imports JAX)
    problem, reference    the numbers that every contender gets, and what must come out
    contenders/           one file a contender: its weights, its layout, its call
    measurement, group    compiled, checked, calibrated, and then called in turn
    run, machine, directory    all of a config's groups, on this machine, into a directory that outlives an interruption
    results, tables, plots, pages    what was measured, read back and shown; none of them imports JAX
"""
