"""What an evaluation costs: `python benchmarks/evaluation.py [AGENT ...]` prints a table in Markdown.

`simlab eval` as one types it, on one core: about 1,000 episodes of the scenarios that lie in the project, each agent to
calibrate by in a process of its own, start-up and scoring included. Arguments pick other agents.
"""

import os
import resource
import subprocess
import sys
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory

SCENARIOS = Path(__file__).parent.parent / "scenarios"
APIS = ("courier", "library", "switchboard", "workshop")
AGENTS = ("oracle", "do_nothing", "never_asks", "read_only", "enumerate_everything", "faulty@wrong_value=0.5")
EPISODES = 1000


def cost(agent: str, globs: list[str], trials: int) -> float:
    """CPU seconds of one evaluation."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with TemporaryDirectory() as folder:
        words = ["eval", "--agent", agent, "--trials", str(trials), "--out", f"{folder}/run.simlab", "-q"]
        for one in globs:
            words += ["--scenarios", one]
        done = subprocess.run([sys.executable, "-m", "simlab", *words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(agents: list[str]) -> None:
    """Print the rows."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])
    globs = [f"{SCENARIOS}/{api}/*.yaml" for api in APIS]
    found = sum(len(list((SCENARIOS / api).glob("*.yaml"))) for api in APIS)
    trials = ceil(EPISODES / found)
    print("| agent | episodes | CPU s | CPU ms per episode |\n" + "|---" * 4 + "|", flush=True)
    for agent in agents or AGENTS:
        seconds = cost(agent, globs, trials)
        print(f"| `{agent}` | {found * trials:,} | {seconds:.1f} | {seconds * 1000 / found / trials:.1f} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
