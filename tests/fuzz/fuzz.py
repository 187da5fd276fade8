# SPDX-License-Identifier: BSD-3-Clause
"""fuzz.py FOLDER [--seconds N] [--keep DIRECTORY] [TARGET ...]: runs the libFuzzer programs in FOLDER, one after the
other. Prints one line each: executions, edges covered, inputs that reach something new. Exits 1 if one has found
something; the input then lies in the current folder."""

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
INPUT_MOST = 4096  # bytes
RUN_MOST = 10  # seconds that one input may take: far more than any needs, so that a busy machine finds nothing
MEMORY_MOST = 2048  # MiB
TOLD_MOST = 6000  # characters of a finding


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--keep", help="keep what is found to reach further, in DIRECTORY/TARGET")
    return parser.parse_intermixed_args()


def command(program, name, seconds, found):
    words = [program, f"-max_total_time={seconds}", f"-max_len={INPUT_MOST}", f"-timeout={RUN_MOST}",
             f"-rss_limit_mb={MEMORY_MOST}", "-print_final_stats=1", f"-artifact_prefix=found-{name}-"]
    dictionary = os.path.join(HERE, "dictionary", name)
    if os.path.exists(dictionary):
        words.append("-dict=" + dictionary)
    return [*words, found, os.path.join(HERE, "corpus", name)]


def last(pattern, text):
    found = re.findall(pattern, text, re.MULTILINE)
    return int(found[-1]) if found else 0


def fuzz(program, name, seconds, found):
    os.makedirs(found, exist_ok=True)
    result = subprocess.run(command(program, name, seconds, found), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            check=False)
    output = result.stdout.decode(errors="replace")
    if result.returncode:
        told = re.sub(r"^#\d+\t.*\n", "", output, flags=re.MULTILINE)  # without its progress
        print(f"{name}: exit status {result.returncode}\n{told[-TOLD_MOST:]}", flush=True)
        return False
    executions = last(r"^stat::number_of_executed_units: +(\d+)", output)
    edges = last(r" cov: (\d+)", output)
    inputs = last(r"^stat::new_units_added: +(\d+)", output)
    print(f"{name:12} {executions:9} executions {edges:5} edges {inputs:5} new inputs", flush=True)
    return executions > 0


def main():
    args = arguments()
    programs = sorted(glob.glob(os.path.join(args.folder, "libfuzzer_*")))
    names = {os.path.basename(program)[len("libfuzzer_"):]: program for program in programs}
    unknown = [name for name in args.targets if name not in names]
    if unknown or not names:
        sys.exit(f"fuzz.py: no such target in {args.folder}: {' '.join(unknown) or 'none at all'}")
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        for name in args.targets or names:
            found = os.path.join(args.keep or temporary, name)
            good = fuzz(names[name], name, args.seconds, found) and good
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
