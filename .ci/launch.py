"""What ./run does: one function for each of its commands. Standard library only.

./run [--no-browser] [--ports RENDEZVOUS,ALICE,BOB] [--data DIR]
                     a rendezvous and two agents, alice and bob, with their pages
./run agent …        one agent (./run agent --help)
./run rendezvous …   one rendezvous (./run rendezvous --help)
./run test …         the tests; what follows goes to pytest
./run check          format, lint, types
./run bench NAME …   one measurement of tests/bench
./run lab nat …      two agents behind every kind of NAT, in network namespaces (Linux, root)
./run pin            write the requirements files anew, with hashes (needs uv)
./run help           this text
"""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence

import chromium
import demo
import environment
from environment import PYTHON, ROOT, SetupError

# The tests of one file share programs that they start; the files go out in the order of tests/conftest.py.
ALL_TESTS = ("-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")


def run_program(name: str, arguments: Sequence[str]) -> int:
    """Become the agent or the rendezvous, in the folder where ./run was called."""
    environment.prepare("use")
    os.execv(PYTHON, [str(PYTHON), "-m", name, *arguments])


def run_tests(arguments: Sequence[str]) -> int:
    """Run pytest with all that the tests need in place; all tests on all processors, or what `arguments` say."""
    environment.prepare("dev")
    browser = chromium.find_or_install()
    vendored = subprocess.run([PYTHON, ".ci/vendor.py", "tests"], cwd=ROOT)
    if vendored.returncode != 0:
        return vendored.returncode
    os.chdir(ROOT)
    os.environ["TMGE_CHROMIUM"] = browser
    os.execv(PYTHON, [str(PYTHON), "-m", "pytest", *(arguments or ALL_TESTS)])


def run_check(arguments: Sequence[str]) -> int:
    """Run the formatter, the linter and the type checker; all of them, whatever the first says."""
    environment.prepare("dev")
    checks = (["ruff", "format", "--check", "."], ["ruff", "check", "."], ["mypy"])
    failed = []
    for check in checks:
        environment.say(f"$ {' '.join(check)}")
        if subprocess.run([PYTHON, "-m", *check], cwd=ROOT).returncode != 0:
            failed.append(" ".join(check))
    if failed:
        environment.say(f"Failed: {', '.join(failed)}.")
    return 1 if failed else 0


def run_bench(arguments: Sequence[str]) -> int:
    """Become one script of tests/bench, or name those that there are."""
    scripts = [path.stem for path in sorted((ROOT / "tests/bench").glob("[!_]*.py"))]
    return run_one_of("tests.bench", scripts, "measurement", arguments)


def run_lab(arguments: Sequence[str]) -> int:
    """Become one of the labs."""
    return run_one_of("tests.lab", ["nat"], "lab", arguments)


def run_one_of(room: str, scripts: Sequence[str], what: str, arguments: Sequence[str]) -> int:
    """Become the script that is named, with what follows its name."""
    if not arguments or arguments[0] not in scripts:
        print(f"Say which {what}: {', '.join(scripts) or 'there is none yet'}.", file=sys.stderr)
        return 2
    environment.prepare("dev")
    os.chdir(ROOT)
    os.execv(PYTHON, [str(PYTHON), "-m", f"{room}.{arguments[0]}", *arguments[1:]])


def run_pin(arguments: Sequence[str]) -> int:
    """Resolve every requirements file again, for all systems and Pythons at once."""
    environment.prepare("dev")
    return subprocess.run([PYTHON, ".ci/pin.py", *arguments], cwd=ROOT).returncode


def show_help(arguments: Sequence[str]) -> int:
    """Print the module's docstring."""
    print((__doc__ or "").strip())
    return 0


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "agent": lambda arguments: run_program("agent", arguments),
    "rendezvous": lambda arguments: run_program("rendezvous", arguments),
    "test": run_tests,
    "check": run_check,
    "bench": run_bench,
    "lab": run_lab,
    "pin": run_pin,
    "help": show_help,
    "-h": show_help,
    "--help": show_help,
}


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; without one, start the main job. Return the exit status."""
    try:
        if arguments and arguments[0] in COMMANDS:
            return COMMANDS[arguments[0]](arguments[1:])
        options = demo.parse(arguments)
        environment.prepare("use")
        return demo.run(options)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our lines has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
