"""The pytest plugin, in suites of its own with nothing of ours but what a user would write.

What a user starts is a process, and so is a suite that shows how it starts; all others are run in this one, as a
process takes a second before it begins.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import simlab.recipes.evaluation
import simlab.suite  # noqa: F401  what is not imported before a run in this process is imported in each
from simlab.pytest_plugin import Played
from tests.readme import blocks

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parent.parent
GOLDEN = ROOT / "tests" / "golden" / "failure.txt"
SNIPPET = next(block for block in blocks("python") if "@simlab.scenarios" in block)
ORACLE = """
import simlab
from simlab import agents

@simlab.scenarios("scenarios/library/{pattern}", trials={trials})
async def test_oracle(case):
    (await case.run(agents.oracle)).check()
"""

EMPTY = """
import simlab

@simlab.scenarios("{pattern}")
async def test_it(case):
    pass
"""


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A folder with the scenarios and documents that ship with simlab, which knows nothing of who runs this test."""
    for name in [name for name in os.environ if name.startswith("PYTEST_XDIST_")]:
        monkeypatch.delenv(name)
    slow = ("schemathesis", "hypothesispytest")  # installed beside simlab here; they take seconds to start
    monkeypatch.setenv("PYTEST_ADDOPTS", " ".join(f"-p no:{name}" for name in slow))
    for name in ("scenarios", "apis"):
        (pytester.path / name).symlink_to(ROOT / name)
    return pytester


def started(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    """A run in a process of its own."""
    return suite.runpytest_subprocess("-p", "no:cacheprovider", *options)


def run(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    return suite.runpytest_inprocess("-p", "no:cacheprovider", *options)


def oracle(suite: pytest.Pytester, pattern: str = "do-*.yaml", trials: int = 1) -> None:
    suite.makepyfile(test_oracle=ORACLE.format(pattern=pattern, trials=trials))


def said_by(result: pytest.RunResult) -> str:
    """What an assertion said, without pytest's frame."""
    lines = [line[1:].removeprefix("       ") for line in result.outlines if re.match(r"E {3}", line)]
    return "\n".join(lines).replace("simlab.pytest_plugin.AgentFailed: ", "") + "\n"


def test_the_snippet_of_the_readme_fails_as_it_says_and_again_in_a_replay(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_agent=SNIPPET)
    result = started(suite)
    result.assert_outcomes(failed=1)
    said = said_by(result)
    assert said == GOLDEN.read_text(encoding="utf-8")
    assert blocks()[blocks().index(SNIPPET) + 1] == said
    (command,) = re.findall(r"again: simlab (.+)", said)
    done = subprocess.run(
        [sys.executable, "-m", "simlab", *command.split()],
        cwd=suite.path, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    failure = said.split("\n", 1)[1]  # what stands before it counts the trials
    assert failure in done.stdout
    assert "episode 0: same" in done.stdout


def test_an_async_test_needs_nothing_else_and_has_one_id_per_scenario(suite: pytest.Pytester) -> None:
    oracle(suite, trials=2)
    result = run(suite, "--collect-only", "-q")
    ids = [line for line in result.outlines if "::" in line]
    assert len(ids) == len(list((ROOT / "scenarios" / "library").glob("do-*.yaml")))
    assert all(re.fullmatch(r"test_oracle\.py::test_oracle\[library/do-\d+\]", line) for line in ids)
    assert not (suite.path / ".simlab").exists()
    run(suite).assert_outcomes(passed=len(ids))
    assert [path.name for path in (suite.path / ".simlab" / "runs").glob("*.simlab")] == ["main-oracle.simlab"]


def test_workers_have_a_run_file_each(suite: pytest.Pytester) -> None:
    oracle(suite, "*.yaml")
    n = len(list((ROOT / "scenarios" / "library").glob("*.yaml")))
    started(suite, "-n", "2", "-p", "randomly", "-p", "xdist").assert_outcomes(passed=n)
    names = {path.name for path in (suite.path / ".simlab" / "runs").glob("*.simlab")}
    assert names == {"gw0-oracle.simlab", "gw1-oracle.simlab"}


def test_a_suite_that_does_not_use_it_is_left_alone(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_other="""
        import sys

        def test_nothing(request):
            assert "simlab" in sys.modules and "simlab.scenario" not in sys.modules
            assert "httpx" not in sys.modules and "yaml" not in sys.modules
        """
    )
    started(suite).assert_outcomes(passed=1)
    assert not (suite.path / ".simlab").exists()


def test_no_match_is_an_error_and_no_label_a_reason_to_skip(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_none=EMPTY.format(pattern="nowhere/*.yaml"))
    result = run(suite)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*no scenario matches 'nowhere/[*].yaml' under *"])
    suite.makepyfile(
        test_none='import simlab\n@simlab.scenarios("scenarios/topics/*.yaml")\nasync def test_it(case): ...'
    )
    result = run(suite, "-rs")
    result.stdout.fnmatch_lines(["SKIPPED*beekeepers-first-spring.yaml: a dialogue scenario has no label"])
    assert result.parseoutcomes().keys() == {"skipped"}


def test_a_sync_test_is_told_what_it_should_be(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_sync='import simlab\n@simlab.scenarios("scenarios/library/do-*.yaml")\ndef test_it(case): ...'
    )
    run(suite).stdout.fnmatch_lines(["*test_it: a test of scenarios is `async def test_it(case)`"])


def test_a_suite_may_say_what_it_runs_on(suite: pytest.Pytester) -> None:
    oracle(suite, "do-*.yaml")
    suite.makeconftest(
        'import pytest\n@pytest.fixture(params=["asyncio", "trio"])\ndef anyio_backend(request): return request.param'
    )
    n = len(list((ROOT / "scenarios" / "library").glob("do-*.yaml")))
    run(suite).assert_outcomes(passed=2 * n)


def test_the_junit_file_names_kind_error_and_run_file(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_agent=SNIPPET)
    run(suite, "--junit-xml=junit.xml")
    root = ElementTree.parse(suite.path / "junit.xml").getroot()
    found = {one.get("name"): one.get("value") for one in root.iter("property")}
    assert found["simlab_kind"] == "clarify"
    assert found["simlab_run_file"] == ".simlab/runs/main.simlab"
    assert found["simlab_error"]
    assert found["simlab_success"] == "0"


USERS = """
import simlab
from simlab import agents
from simlab.models.scripted import Scripted
from simlab.model import CallFailed

class Worded(Scripted):
    async def reply(self, request):
        with open("asked.txt", "a") as file:
            file.write("x")
        return await super().reply(request)

class Gone(Scripted):
    async def reply(self, request):
        raise CallFailed("nobody answers", retry=False)

def worded(argument, *, base_url=None): return Worded(name="worded")
def gone(argument, *, base_url=None): return Gone(name="worded")
"""
WORDED = """
import simlab
from simlab import agents

@simlab.scenarios("scenarios/library/clarify-03.yaml", user="users:{user}", trials=2)
async def test_it(case):
    (await case.run(agents.{agent})).check()
"""


@pytest.mark.parametrize("trials", ["0", "-1", "'3'"])
def test_trials_are_a_whole_number_from_1(suite: pytest.Pytester, trials: str) -> None:
    suite.makepyfile(test_oracle=ORACLE.format(pattern="do-*.yaml", trials=trials))
    result = run(suite)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*test_oracle: trials is a whole number from 1, not {trials}"])
    result = run(suite, f"--simlab-trials={trials}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--simlab-trials: a whole number from 1, not *"])


def test_a_share_is_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="min_success is a share between 0 and 1, not 80"):
        Played(()).check(min_success=80)


def test_a_user_worded_by_a_model_is_recorded_once_and_then_read(suite: pytest.Pytester) -> None:
    suite.makepyfile(users=USERS, test_it=WORDED.format(user="worded", agent="oracle"))
    asked = suite.path / "asked.txt"
    result = run(suite)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "the user's lines are recorded otherwise, or not at all: journal entry 0: *but nothing was recorded",
            "record them with --simlab-record=new, or all again with =all",
        ]
    )
    assert not asked.exists()
    run(suite, "--simlab-record=new").assert_outcomes(passed=1)
    once = len(asked.read_text())
    assert once > 0
    run(suite).assert_outcomes(passed=1)
    run(suite, "--simlab-record=new").assert_outcomes(passed=1)
    assert len(asked.read_text()) == once
    run(suite, "--simlab-record=all").assert_outcomes(passed=1)
    assert len(asked.read_text()) == 2 * once
    users = USERS.replace("super().reply(request)", "super().reply(replace(request, messages=request.messages[1:]))")
    suite.makepyfile(users="from dataclasses import replace\n" + users)  # a change of the model alone changes nothing
    run(suite).assert_outcomes(passed=1)


def test_a_line_that_is_recorded_otherwise_is_named(suite: pytest.Pytester) -> None:
    test = WORDED.replace("agents.{agent}", "lambda messages: {said!r}")
    suite.makepyfile(users=USERS, test_it=test.format(user="worded", said="The loan id, please?"))
    run(suite, "--simlab-record=new").assert_outcomes(failed=1)
    suite.makepyfile(test_it=test.format(user="worded", said="What is the due on?"))
    result = run(suite)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*journal entry 1: message * was 'user: The loan id is *', is now 'user: The due on*"])


def test_what_is_not_the_agents_fault_is_an_error_of_its_kind(suite: pytest.Pytester) -> None:
    suite.makepyfile(users=USERS, test_it=WORDED.format(user="gone", agent="oracle"))
    result = run(suite, "--simlab-record=all")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*infrastructure fault, not the agent's: *nobody answers*"])
