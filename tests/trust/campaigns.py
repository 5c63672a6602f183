"""The campaigns: what each does to the product, how it is run, and how much of it is enough.

A campaign is a command of `tools`, which leaves its figures where `--figures` says
(`figures.py`). Nothing here does what a command does.
"""

from typing import Final

import msgspec


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    """As it stands in the figures that its command leaves."""
    what: str
    unit: str
    command: str
    """With `{amount}`, and the seeds as `{seed}` and `{last}`; or `{before}`, how many are over."""
    quick: int
    full: int
    """Of the test programme's middle tier, T1."""
    piece: int
    """So much is done by one run of the command; figures are kept of each."""
    amount_a_seed: int = 0
    """0: a run has one seed."""
    each_s: float = 1.0
    """About how long a unit of it takes, until a run says so."""
    cores: float = 1.0
    """How busy a run keeps the machine: those that wait run beside others."""
    control: str = ""
    """The command that plants `{defect}`; it exits with 0 only if that is found out."""
    defects: tuple[str, ...] = ()

    def seeds(self, amount: int) -> int:
        """Return how many seeds a run of so much has."""
        return -(-amount // self.amount_a_seed) if self.amount_a_seed else 1


SIMULATION_STEPS: Final = 20_000
"""Of a seed; the drain at its end comes on top."""


def _crash(
    name: str, what: str, quick: int, full: int, *defects: str, each_s: float, cores: float
) -> Campaign:
    """Lives that end in another way than by kill -9."""
    return Campaign(
        name=name,
        what=what,
        unit="lives",
        command=f"tools/crash --ground {name} --cycles {{amount}} --seed {{seed}}",
        quick=quick,
        full=full,
        piece=25,
        each_s=each_s,
        cores=cores,
        control=f"tools/crash --ground {name} --control {{defect}} --seed {{seed}}",
        defects=defects,
    )


def _powercut(filesystem: str) -> Campaign:
    return Campaign(
        name=f"powercut-{filesystem}",
        what=f"the power of a disk with {filesystem} is cut under load",
        unit="cuts",
        command=f"tools/powercut --fs {filesystem} --cycles {{amount}} --seed {{seed}}",
        quick=2,
        full=1_000,
        piece=50,
        each_s=1.5,
        control=f"tools/powercut --fs {filesystem} --control {{defect}} --seed {{seed}}",
        defects=("no-sync",),
    )


CAMPAIGNS: Final = (
    Campaign(
        name="simulation",
        what="the shipping engine, store, pump and clock in seeded worlds with every fault",
        unit="steps",
        command=f"tools/simulate --seeds {{seed}}..{{last}} --steps {SIMULATION_STEPS}",
        quick=4 * SIMULATION_STEPS,
        full=200_000_000,
        piece=100 * SIMULATION_STEPS,
        each_s=6e-05,
        amount_a_seed=SIMULATION_STEPS,
    ),
    Campaign(
        name="mutants",
        what="defects planted one by one, which the simulation must find within 500 seeds",
        unit="mutants",
        command="tools/mutants",
        quick=0,
        full=40,
        piece=40,
        each_s=30,
    ),
    Campaign(
        name="kill-9",
        what="a loaded server is killed at any moment, its clients' history is checked",
        unit="lives",
        command="tools/crash --cycles {amount} --seed {seed}",
        quick=4,
        full=3_000,
        piece=100,
        each_s=1.5,
        control="tools/crash --control {defect} --seed {seed}",
        defects=("ack-before-commit", "stale-lease", "keys-forgotten"),
    ),
    Campaign(
        name="kill-9-batches",
        what="the same at full speed, a hundred jobs a request",
        unit="lives",
        command="tools/crash --load batches --cycles {amount} --seed {seed}",
        quick=0,
        full=200,
        piece=25,
        each_s=2,
        control="tools/crash --load batches --control {defect} --seed {seed}",
        defects=("ack-before-commit",),
    ),
    _crash(
        *("points", "killed at 18 named moments", 3, 360, "ack-before-commit"),
        each_s=3,
        cores=0.6,
    ),
    _crash(
        *("pauses", "stopped for longer than a lease, it or its workers", 1, 100, "stale-lease"),
        each_s=5,
        cores=0.4,
    ),
    _crash(
        *("clock", "its wall clock jumps by hours", 1, 100, "leases-by-wall"),
        each_s=3,
        cores=0.7,
    ),
    _crash(
        *("memory", "killed by the kernel for want of memory", 1, 50, "ack-before-commit"),
        each_s=5,
        cores=0.7,
    ),
    _crash(
        *("block", "its disk fails below the filesystem", 1, 25, "errors-ignored"),
        each_s=6,
        cores=0.6,
    ),
    Campaign(
        name="embedded",
        what="a program with a queue inside is killed at any moment",
        unit="lives",
        command="tools/crash --embedded --cycles {amount} --seed {seed}",
        quick=2,
        full=300,
        piece=50,
        each_s=1.5,
        cores=0.8,
        control="tools/crash --embedded --cycles 3 --control {defect} --seed {seed}",
        defects=("ack-before-commit",),
    ),
    _powercut("ext4"),
    _powercut("xfs"),
    Campaign(
        name="crash-states",
        what="files that a power cut could have left, from a record of writes and syncs",
        unit="states",
        command="tools/crash-states --states {amount} --seed {seed}",
        quick=150,
        full=100_000,
        piece=12_500,
        each_s=0.015,
        control="tools/crash-states --states 500 --control {defect} --seed {seed}",
        defects=("ack-before-commit", "no-sync", "syncs-ignored"),
    ),
    Campaign(
        name="bit-flips",
        what="bits, bytes and pages of a store's file change while no server runs",
        unit="flips",
        command="tools/bit-flips --flips {amount} --seed {seed}",
        quick=100,
        full=10_000,
        piece=2_500,
        each_s=0.05,
        control="tools/bit-flips --flips 300 --control {defect} --seed {seed}",
        defects=("checksums-ignored",),
    ),
    Campaign(
        name="io-faults",
        what="each call on the data fails in each way, once and for ever",
        unit="cells",
        command="tools/io-faults --skip {before} --cells {amount}",
        quick=4,
        full=2_468,
        piece=50,
        each_s=2,
        cores=0.5,
        amount_a_seed=1,
        control="tools/io-faults --control {defect}",
        defects=("errors-ignored", "full-ignored", "full-ends"),
    ),
    Campaign(
        name="limits",
        what="limits and quotas under load, with a kill -9 in the middle",
        unit="seconds",
        command="tools/limits --seconds {amount} --seed {seed}",
        quick=6,
        full=600,
        piece=60,
        each_s=1,
        cores=0.7,
        control="tools/limits --control {defect} --seed {seed}",
        defects=(
            *("limits-ignored", "bytes-ignored"),
            *("rates-full-after-a-start", "leases-forgotten-at-a-start"),
        ),
    ),
    Campaign(
        name="fuzz-http",
        what="real requests, changed at random, over raw sockets",
        unit="requests",
        command="tools/fuzz-http --requests {amount} --seed {seed}",
        quick=5_000,
        full=1_000_000,
        piece=100_000,
        each_s=0.0006,
        control="tools/fuzz-http --requests 5000 --control {defect} --seed {seed}",
        defects=("ends", "raises", "hangs", "loses", "grows"),
    ),
    Campaign(
        name="fuzz-api",
        what="requests that schemathesis makes of the OpenAPI document, about 24,000 a run",
        unit="requests",
        command="tools/fuzz-api --examples 50 --seed {seed}",
        quick=0,
        full=50_000,
        piece=24_000,
        each_s=0.01,
        control="tools/fuzz-api --examples 5 --control {defect} --seed {seed}",
        defects=("fails", "strays", "misshapes"),
    ),
    Campaign(
        name="wasm-abuse",
        what="hostile WASM modules against a server and a worker",
        unit="modules",
        command="tools/wasm-abuse",
        quick=0,
        full=50,
        piece=1_000,
        each_s=3,
        cores=0.7,
        control="tools/wasm-abuse --control {defect}",
        defects=("door-open", "server-compiles", "limits-off"),
    ),
    Campaign(
        name="slowloris",
        what="slow headers, slow bodies, idle connections and slow readers, a quarter of each",
        unit="connections",
        command="tools/slowloris --amount {amount}",
        quick=0,
        full=20_000,
        piece=20_000,
        each_s=0.02,
        cores=2.0,  # of a machine of two: what it bounds is a time
        control="tools/slowloris --control --patience-ms 500 --connections 20 --kinds header",
        defects=("deadlines-off",),
    ),
)
BY_NAME: Final = {campaign.name: campaign for campaign in CAMPAIGNS}
