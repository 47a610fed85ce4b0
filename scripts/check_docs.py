# SPDX-License-Identifier: Apache-2.0
"""Links, quoted code and C blocks of the *.md files; see scripts/check-docs."""

import concurrent.futures
import pathlib
import re
import subprocess
import sys

FENCE = re.compile(r"^(?P<fence>`{3,})(?P<info>[^`\n]*)\n(?P<body>.*?)^(?P=fence)[ \t]*$", re.M | re.S)
LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\((?P<to>[^)\s]+)\)")
WIDTH = 120
COMPILER = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-unused"]
COMPILER += ["-Iinclude", "-Icexamples", "-IBenchmarks/harness", "-IBenchmarks/levers", "-fsyntax-only", "-xc"]
WRAPPED = """\
#include <belay.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
void snippet(belay_ctx ctx);
void snippet(belay_ctx ctx) {
    (void)ctx;
%s
}
"""


def markdown_files() -> list[pathlib.Path]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.md"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [path for path in map(pathlib.Path, listing.splitlines()) if path.exists() and ".docc" not in str(path)]


def definition(text: str, name: str) -> str | None:
    """The definition of this name that begins at the left margin: up to where its braces are closed."""
    lines = text.splitlines()
    begins = re.compile(rf"^[A-Za-z@][^;()={{]*\b{re.escape(name)}\b")
    for first, line in enumerate(lines):
        if not begins.match(line):
            continue
        depth = 0
        for last in range(first, len(lines)):
            code = re.sub(r"\s*(/\*.*\*/|//.*)$", "", lines[last])
            depth += code.count("{") - code.count("}")
            if depth == 0 and code.endswith((";", "}")):
                return "\n".join(lines[first : last + 1])
    return None


def quoted(reference: str) -> tuple[str | None, str]:
    """The text that a block's file=PATH#name,name stands for, or why there is none."""
    path, _, names = reference.partition("#")
    file = pathlib.Path(path)
    if not file.is_file():
        return None, f"there is no {path}"
    text = file.read_text()
    if not names:
        return re.sub(r"\A// SPDX-.*\n", "", text), ""
    parts = []
    for name in names.split(","):
        part = definition(text, name)
        if part is None:
            return None, f"{path} has no definition of {name}"
        parts.append(part.removeprefix("private ") if file.suffix == ".swift" else part)
    return "\n\n".join(parts) + "\n", ""


def heading_anchors(path: pathlib.Path) -> set[str]:
    text = FENCE.sub("", path.read_text())
    titles = re.findall(r"^#+ +(.+?) *$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def broken_links(path: pathlib.Path, text: str) -> list[str]:
    problems = []
    for match in LINK.finditer(re.sub(r"`[^`\n]*`", "", FENCE.sub("", text))):
        to = match["to"]
        if re.match(r"[a-z]+:", to):
            continue
        target, _, anchor = to.partition("#")
        file = (path.parent / target) if target else path
        if not file.exists():
            problems.append(f"{path}: the link to {to} leads nowhere")
        elif anchor and file.suffix == ".md" and anchor not in heading_anchors(file):
            problems.append(f"{path}: {to}: there is no such heading")
    return problems


def compile_c(job: tuple[str, str]) -> str | None:
    where, text = job
    run = subprocess.run([*COMPILER, "-"], input=text, capture_output=True, text=True)
    if run.returncode == 0:
        return None
    errors = [line for line in run.stderr.splitlines() if "error" in line] or ["does not compile"]
    return f"{where}: {errors[0]}"


def main():
    fix, problems = "--fix" in sys.argv[1:], []
    compiled, sources, blocks, later, copied = [], set(), 0, 0, 0
    files = markdown_files()
    for path in files:
        text = path.read_text()

        def block(match: re.Match) -> str:
            nonlocal blocks, later, copied
            language, *words = match["info"].split() or [""]
            where = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
            source = next((word[5:] for word in words if word.startswith("file=")), None)
            blocks += 1
            if source:
                copied += 1
                wanted, problem = quoted(source)
                if wanted is None:
                    problems.append(f"{where}: {problem}")
                elif wanted != match["body"]:
                    if fix:
                        return f"{match['fence']}{match['info']}\n{wanted}{match['fence']}"
                    problems.append(f"{where}: is not what stands in {source}: scripts/check-docs --fix copies it")
                if language == "c":
                    sources.add(source.partition("#")[0])
            elif language == "c" and "later" in words:
                later += 1
            elif language == "c" and "sketch" not in words:
                body = match["body"]
                compiled.append((where, body if "#include" in body else WRAPPED % body))
            return match[0]

        new = FENCE.sub(block, text)
        if new != text:
            path.write_text(new)
            text = new
        problems += broken_links(path, text)
        if path.parts[0] == "docs":
            for number, line in enumerate(text.splitlines(), 1):
                if len(line) > WIDTH and not line.startswith("|"):  # a table's row cannot be broken
                    problems.append(f"{path}:{number}: longer than {WIDTH} columns")
    index = pathlib.Path("docs/README.md").read_text()
    for path in files:
        if path.parts[0] == "docs" and path.name != "README.md" and f"]({path.name})" not in index:
            problems.append(f"{path}: docs/README.md does not lead to it")
    compiled += [(source, pathlib.Path(source).read_text()) for source in sorted(sources)]
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        problems += filter(None, pool.map(compile_c, compiled))
    for problem in problems:
        print(f"ERROR: {problem}")
    print(f"{len(files)} files, {blocks} blocks, {copied} of them copied, {len(compiled)} compiled, {later} to be later")
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
