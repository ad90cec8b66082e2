"""Mutation testing of the pure packages and the methods: does a test fail if an operator, a number, a call changes?

    python benchmarks/mutation.py write mutants          # a copy of the repository with all mutants behind switches
    python benchmarks/mutation.py baseline mutants       # every test once: which switches does it ask, how long
    python benchmarks/mutation.py run mutants [SECONDS]  # each mutant in a fork, against the tests that ask its switch
    python benchmarks/mutation.py again mutants [SECONDS]  # the survivors once more, as after a new baseline
    python benchmarks/mutation.py show mutants

No test starts anew for a mutant: all mutants stand in one source, `mutated if _m_(17) else original`, pytest collects
once, and each mutant is a fork of that process with its switch on. Tests go by what they have killed and by their time,
up to so many seconds a mutant (3 by default). What runs at import cannot be switched on afterwards, and is left out.
"""

import ast
import copy
import functools
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

MUTATED = ("discrepancy/*.py", "two_sample/*.py", "methods/*.py", "training/schedules.py", "networks/reversal.py")
TESTS = """
    alignment groups standardize accuracy_estimators selection left_out kernels default_kernels discrepancy each
    example_weights fourier kernel_weights own_kernels two_sample two_sample_weights two_sample_formulas methods
    method_parts objective hard_cases networks several_sources unknown options names shift label_shift large columns
    distances moments estimator_parts analysis stack
"""
SWITCH = '''"""The switch that every mutant asks."""

import os

ON, ASKED = int(os.environ.get("MUTANT", "-1")), set()


def m(number):
    ASKED.add(number)
    return number == ON
'''
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
PAIRS = (
    "mean sum, min max, minimum maximum, argmin argmax, amin amax, any all, softmax log_softmax, clamp_min clamp_max, "
    "floor ceil, sqrt square, zeros ones"
)
SIBLINGS = {a: b for pair in PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])}
MODULES = {"torch", "math", "np", "nn", "super", "self", "cls", "ctx"}
NEEDED = {"len", "range", "type", "iter", "enumerate", "vars"}
PLAIN_DECORATORS = {"staticmethod", "property", "classmethod", "abstractmethod", "runtime_checkable", "dataclass"}
LEFT_ALONE = (ast.JoinedStr, ast.Raise, ast.Import, ast.ImportFrom, ast.pattern)


class Mutator(ast.NodeTransformer):
    """Put every mutant of a module behind a switch."""

    def __init__(self, module: str, first: int) -> None:
        self.module, self.next, self.depth, self.found = module, first, 0, []

    def switch(self, node: ast.AST, kind: str, text: str) -> ast.Call:
        self.found.append(
            {
                "id": self.next,
                "module": self.module,
                "line": node.lineno,
                "kind": kind,
                "text": text,
                "late": self.depth,
            }
        )
        self.next += 1
        return ast.Call(ast.Name("_m_", ast.Load()), [ast.Constant(self.next - 1)], [])

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, LEFT_ALONE):
            return node
        if isinstance(node, ast.AnnAssign):
            node.value = node.value and self.visit(node.value)
            return node
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Lambda):
            return self.definition(node)
        if isinstance(node, ast.expr):
            return self.expression(node)
        if isinstance(node, ast.stmt):
            return self.statement(node)
        if isinstance(node, ast.comprehension):
            plain = [*node.ifs]
            node = self.generic_visit(node)
            tests = [self.switch(test, "condition", f"if {ast.unparse(test)}  →  if True") for test in plain]
            node.ifs = [ast.IfExp(on, ast.Constant(True), test) for on, test in zip(tests, node.ifs, strict=True)]
            return node
        return self.generic_visit(node)

    def expression(self, node: ast.expr) -> ast.expr:
        stored = not isinstance(getattr(node, "ctx", ast.Load()), ast.Load)
        before = ast.unparse(node)
        found = [] if stored or isinstance(node, ast.Slice | ast.Starred) else [*variants(node)]
        switches = [(self.switch(node, kind, f"{before}  →  {ast.unparse(new)}"), new) for kind, new in found]
        result = self.generic_visit(node)
        for switch, new in switches:
            result = ast.IfExp(switch, new, result)
        return result

    def statement(self, node: ast.stmt) -> ast.stmt:
        before = ast.unparse(node)
        if isinstance(node, ast.AugAssign) and type(node.op) in ARITHMETIC:
            other = changed(node, op=ARITHMETIC[type(node.op)]())
            return ast.If(
                self.switch(node, "arithmetic", f"{before}  →  {ast.unparse(other)}"),
                [other],
                [self.generic_visit(node)],
            )
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            return node
        called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        if isinstance(node, ast.Continue | ast.Break) or (called and not before.startswith("super().__init__")):
            return ast.If(
                self.switch(node, "statement", f"{before}  →  pass"), [ast.Pass()], [self.generic_visit(node)]
            )
        if isinstance(node, ast.If | ast.While):
            values = (False, True) if isinstance(node, ast.If) else (False,)
            text = ast.unparse(node.test)
            switches = [(self.switch(node, "condition", f"if {text}  →  if {value}"), value) for value in values]
            node = self.generic_visit(node)
            for switch, value in switches:
                node.test = ast.IfExp(switch, ast.Constant(value), node.test)
            return node
        return self.generic_visit(node)

    def definition(self, node: ast.FunctionDef | ast.ClassDef | ast.Lambda) -> ast.AST:
        decorators = []
        for decorator in getattr(node, "decorator_list", []):
            name = ast.unparse(decorator)
            if name.split("(")[0].split(".")[-1] not in PLAIN_DECORATORS:
                switch = self.switch(decorator, "decorator", f"@{name}  →  nothing")
                decorator = ast.IfExp(switch, ast.parse("lambda f: f", mode="eval").body, decorator)
            decorators.append(decorator)
        if not isinstance(node, ast.Lambda):
            node.decorator_list = decorators
        if not isinstance(node, ast.ClassDef):
            node.args.defaults = [*map(self.visit, node.args.defaults)]
            node.args.kw_defaults = [default and self.visit(default) for default in node.args.kw_defaults]
        inner = not isinstance(node, ast.ClassDef)
        self.depth += inner
        node.body = self.visit(node.body) if isinstance(node, ast.Lambda) else [*map(self.visit, node.body)]
        self.depth -= inner
        return node


def changed(node: ast.AST, **fields: object) -> ast.AST:
    new = copy.deepcopy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def variants(node: ast.expr):
    """Yield the kind and the expression of every mutant of one expression, its parts left alone."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                for other in COMPARISONS[type(operator)]:
                    yield "comparison", changed(node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield "arithmetic", changed(node, op=ARITHMETIC[type(node.op)]())
        case ast.UnaryOp(ast.USub() | ast.Not() | ast.Invert()):
            yield "sign or not", changed(node.operand)
        case ast.BoolOp():
            yield "and, or", changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        case ast.IfExp():
            yield "condition", changed(node.body)
            yield "condition", changed(node.orelse)
        case ast.Constant(bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int() as value):
            yield "constant", ast.Constant(value + 1)
        case ast.Constant(float() as value):
            yield "constant", ast.Constant(2 * value or 1.0)
        case ast.Call():
            yield from calls(node)


def calls(node: ast.Call):
    """Yield a call without each of its keywords, with its sibling in its place, and what it is a call of."""
    for place, keyword in enumerate(node.keywords):
        if keyword.arg not in (None, "strict"):
            yield "keyword", changed(node, keywords=[*node.keywords[:place], *node.keywords[place + 1 :]])
    match node.func:
        case ast.Attribute(value, name):
            if name in SIBLINGS:
                yield "function", changed(node, func=ast.Attribute(copy.deepcopy(value), SIBLINGS[name], ast.Load()))
            root = value
            while isinstance(root, ast.Attribute):
                root = root.value
            if not (isinstance(root, ast.Name) and root.id in MODULES):
                yield "method call", changed(value)
        case ast.Name(name):
            if name in SIBLINGS:
                yield "function", changed(node, func=ast.Name(SIBLINGS[name], ast.Load()))
            alone = len(node.args) == 1 and not node.keywords
            special = name in NEEDED or not name[0].islower()
            if alone and not special and not isinstance(node.args[0], ast.Starred | ast.GeneratorExp):
                yield "function", changed(node.args[0])


def write(root: Path) -> None:
    """Write the copy, its mutants, and the switch."""
    skipped = shutil.ignore_patterns(".*", "__pycache__", "_build", root.name)
    shutil.copytree(Path(__file__).parents[1], root / "tree", ignore=skipped)
    (root / "switch_mutants.py").write_text(SWITCH)
    package, mutants = root / "tree/src/jointadapt", []
    for file in sorted(file for pattern in MUTATED for file in package.glob(pattern)):
        if file.name == "__init__.py":
            continue
        mutator = Mutator(str(file.relative_to(package)), len(mutants))
        tree = ast.parse(file.read_text("utf-8"))
        tree.body = [*map(mutator.visit, tree.body)]
        docstring = isinstance(tree.body[0], ast.Expr)
        tree.body.insert(docstring, ast.parse("from switch_mutants import m as _m_").body[0])
        file.write_text(ast.unparse(ast.fix_missing_locations(tree)), "utf-8")
        mutants += mutator.found
    (root / "mutants.json").write_text(json.dumps(mutants))
    print(f"{len(mutants)} mutants, {sum(not mutant['late'] for mutant in mutants)} of them run at import")


def start(root: Path, mode: str, seconds: str) -> None:
    """Start pytest in the copy, with this file as a plugin."""
    paths = (root, root / "tree/src", root / "tree/tests", root / "tree/benchmarks")
    told = {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "MUTANTS": str(root),
        "MUTANTS_MODE": mode,
        "MUTANTS_SECONDS": seconds,
    }
    tests = [f"tests/test_{name}.py" for name in TESTS.split()]
    sources = [f"src/jointadapt/{pattern.removesuffix('/*.py')}" for pattern in MUTATED]
    options = ["-q", "-p", "no:cacheprovider", "-p", "mutation", "-m", "not slow and not browser"]
    command = [sys.executable, "-m", "pytest", *options, *tests, *sources]
    subprocess.run(command, cwd=root / "tree", env=os.environ | {"OMP_NUM_THREADS": "1"} | told, check=True)


def show(root: Path) -> None:
    """Print a table of modules, and every survivor."""
    mutants = json.loads((root / "mutants.json").read_text())
    outcomes = dict(json.loads(line) for line in (root / "outcomes.jsonl").read_text().splitlines())
    modules = Counter((m["module"], outcomes.get(m["id"], "not run")) for m in mutants)
    for module in sorted({m["module"] for m in mutants}):
        print(module, {outcome: count for (name, outcome), count in modules.items() if name == module})
    for mutant in mutants:
        if outcomes.get(mutant["id"]) in ("survived", "not asked"):
            print(mutant["module"], mutant["line"], outcomes[mutant["id"]], mutant["text"])


# The plugin

FAILED = []
if "MUTANTS" in os.environ:
    import hypothesis

    hypothesis.settings.load_profile("ci")  # the same examples at every call


def pytest_runtest_logreport(report) -> None:
    if report.failed:
        FAILED.append(report.nodeid)


def pytest_runtestloop(session) -> bool:
    import switch_mutants

    root = Path(os.environ["MUTANTS"])
    if os.environ["MUTANTS_MODE"] == "baseline":
        (root / "baseline.json").write_text(json.dumps(baseline(session, switch_mutants)))
    else:
        run(session, switch_mutants, root, float(os.environ["MUTANTS_SECONDS"]))
    return True


def protocol(items: list, place: int) -> None:
    following = items[place + 1] if place + 1 < len(items) else None
    items[place].config.hook.pytest_runtest_protocol(item=items[place], nextitem=following)


def baseline(session, switch) -> dict:
    """Return of every test the switches it asks, its seconds and whether it fails; caches are emptied before each."""
    caches = [
        thing
        for thing in gc.get_objects()
        if type(thing) is functools._lru_cache_wrapper and str(thing.__module__).startswith(("jointadapt", "test_"))
    ]
    found = {}
    for place, item in enumerate(session.items):
        for cache in caches:
            cache.cache_clear()
        switch.ASKED.clear()
        FAILED.clear()
        began = time.perf_counter()
        protocol(session.items, place)
        found[item.nodeid] = (sorted(switch.ASKED), time.perf_counter() - began, bool(FAILED))
    return found


def run(session, switch, root: Path, seconds: float) -> None:
    """Run every mutant that has no outcome yet, and write its outcome."""
    known = json.loads((root / "baseline.json").read_text())
    items = {item.nodeid: item for item in session.items}
    asking, kills = {}, Counter()
    for name, (asked, _, failed) in known.items():
        for number in asked if name in items and not failed else ():
            asking.setdefault(number, []).append(name)
    outcomes = root / "outcomes.jsonl"
    done = dict(json.loads(line) for line in outcomes.read_text().splitlines()) if outcomes.exists() else {}
    for mutant in json.loads((root / "mutants.json").read_text()):
        number, module = mutant["id"], mutant["module"]
        if number in done or not mutant["late"]:
            continue
        tests = asking.get(number, [])
        tests.sort(key=lambda name, module=module: known[name][1] / (1 + 20 * kills[module, name]))
        chosen, cost = [], 0.0
        for name in tests:
            if not chosen or cost + known[name][1] <= seconds:
                chosen.append(name)
                cost += known[name][1]
        outcome = forked([items[name] for name in chosen], number, switch, 10 * cost + 5) if chosen else "not asked"
        if isinstance(outcome, int):
            kills[module, chosen[outcome]] += 1
            outcome = "killed"
        with outcomes.open("a") as file:
            file.write(json.dumps([number, outcome]) + "\n")


def forked(items: list, number: int, switch, limit: float) -> int | str:
    """Return which test fails first with a mutant on, "survived" if none does, or "timeout"."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        for stream in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), stream)
        switch.ON = number
        os.environ["MUTANT"] = str(number)
        for place in range(len(items)):
            protocol(items, place)
            if FAILED:
                os.write(writing, str(place).encode())
                break
        else:
            os.write(writing, b"survived")
        os._exit(0)
    os.close(writing)
    end = time.monotonic() + limit
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(reading)
            return "timeout"
        time.sleep(0.003)
    told = os.read(reading, 100).decode()
    os.close(reading)
    return int(told) if told.isdigit() else told or "killed"


if __name__ == "__main__":
    command, root = sys.argv[1], Path(sys.argv[2]).resolve()
    if command == "again":
        outcomes = root / "outcomes.jsonl"
        lines = outcomes.read_text().splitlines(keepends=True)
        outcomes.write_text("".join(line for line in lines if json.loads(line)[1] not in ("survived", "not asked")))
    if command in ("baseline", "run", "again"):
        start(root, "baseline" if command == "baseline" else "run", *(sys.argv[3:] or ["3"]))
    else:
        {"write": write, "show": show}[command](root)
