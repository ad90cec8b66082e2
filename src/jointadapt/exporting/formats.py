"""The formats: each writes a description and its tensors as files, and runs what it has written."""

import importlib.util
import inspect
import io
import logging
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import torch
from safetensors.torch import save
from torch import Tensor

from jointadapt.errors import UserError, reason
from jointadapt.exporting import loader
from jointadapt.exporting.description import Description
from jointadapt.networks import signals
from jointadapt.runtime.files import write_atomically
from jointadapt.runtime.json_text import to_json
from jointadapt.runtime.random_state import preserved_rng_state

Runner = Callable[[Tensor], tuple[Tensor, ...]]
ABOUT = "model.json"
SAMPLE = 3  # rows that a graph is traced with; it holds for any number of them
MOST_BYTES = 2**31 - 2**20  # of an ONNX file, which is one message of Protocol Buffers
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class Format(ABC):
    """A file format, by its name in `--to`."""

    name: ClassVar[str]

    @abstractmethod
    def write(self, folder: Path, made: Description) -> Path:
        """Write the model's file into a folder, and return it."""

    @abstractmethod
    def runner(self, folder: Path, made: Description) -> Runner:
        """Return what the files in a folder make of rows, read as anybody reads them."""

    def check_installed(self) -> None:  # noqa: B027
        """Raise a `UserError` where a library that the format needs is missing; most need none."""


class Safetensors(Format):
    """Plain weights, `model.json`, and a loader that needs nothing of ours."""

    name = "safetensors"

    def write(self, folder: Path, made: Description) -> Path:
        path = folder / "model.safetensors"
        # Clones, as safetensors refuses tensors that share their memory.
        tensors = {name: tensor.clone() for name, tensor in made.tensors.items()}
        write_atomically(path, lambda file: file.write(save(tensors)))
        files = {"load.py": loader}
        for backbone in made.about["backbones"]:
            if backbone["library"] == "file":
                files[backbone["file"]] = import_module(f"jointadapt.networks.signals.{backbone['function']}")
        for name, module in files.items():
            source = inspect.getsource(module).encode()
            write_atomically(folder / name, lambda file, text=source: file.write(text))
        return path

    def runner(self, folder: Path, made: Description) -> Runner:
        spec = importlib.util.spec_from_file_location("load", folder / "load.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        with _nothing_compiled():
            spec.loader.exec_module(module)
            return _runner(module.load(folder, made.own))


@contextmanager
def _nothing_compiled() -> Iterator[None]:
    """Let no import leave compiled files beside what was written."""
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = before


class TorchExport(Format):
    """A program of `torch.export`, with a batch of any size."""

    name = "torch"

    def write(self, folder: Path, made: Description) -> Path:
        path, program = folder / "model.pt2", traced(made)

        def fill(file: Any) -> None:
            torch.export.save(program, file, extra_files={ABOUT: to_json(made.about)})

        write_atomically(path, fill)
        return path

    def runner(self, folder: Path, made: Description) -> Runner:  # noqa: ARG002
        return _runner(torch.export.load(folder / "model.pt2").module())


class Onnx(Format):
    """An ONNX graph with a batch of any size, by torch's own exporter; what it is stands in its metadata."""

    name = "onnx"

    def check_installed(self) -> None:
        try:
            for name in NEEDED:
                import_module(name)
        except ImportError as error:
            raise UserError(
                f"--to onnx needs {error.name or 'onnx'}; install it with: pip install 'jointadapt[onnx]'"
            ) from error

    def write(self, folder: Path, made: Description) -> Path:
        size = sum(tensor.nbytes for tensor in made.tensors.values())
        if size > MOST_BYTES:
            raise UserError(
                f"the weights have {size / 2**30:.1f} GiB, and an ONNX file holds less than 2; export it by --to torch "
                "or --to safetensors."
            )
        program = traced(made)
        names = [about["name"] for about in made.about["output"]]
        with _quietly("torch.onnx"):
            found = torch.onnx.export(
                program,
                input_names=[made.about["input"]["name"]],
                output_names=names,
                dynamo=True,
                external_data=False,
                verbose=False,
            )
            assert found is not None
            proto = found.model_proto
        _tidy(proto, made.about)
        content = proto.SerializeToString(deterministic=True)
        path = folder / "model.onnx"
        write_atomically(path, lambda file: file.write(content))
        return path

    def runner(self, folder: Path, made: Description) -> Runner:  # noqa: ARG002
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
        file = str(folder / "model.onnx")
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        (given,) = session.get_inputs()

        def run(rows: Tensor) -> tuple[Tensor, ...]:
            return tuple(map(torch.from_numpy, session.run(None, {given.name: rows.numpy()})))

        return run


FORMATS: dict[str, Format] = {form.name: form for form in (Onnx(), TorchExport(), Safetensors())}


@preserved_rng_state()
def traced(made: Description) -> Any:
    """Return the program of a description, its first axis of any size; a `UserError` where torch cannot follow it."""
    about = made.about
    model = loader.build(about, made.tensors, Path(inspect.getfile(signals)).parent, made.own)
    shape, white = about["input"]["shape"][1:], about["input"]["dtype"] == "uint8"
    rows = torch.randint(0, 256, (SAMPLE, *shape), dtype=torch.uint8) if white else torch.randn(SAMPLE, *shape)
    with _quietly("torch.export"), torch.no_grad():
        program = torch.export.export(model, (rows,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))
    for part in program.graph_module.modules():
        for node in part.graph.nodes if isinstance(part, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it says where on this machine the code lies
    return program


def _runner(model: Callable[[Tensor], Any]) -> Runner:
    def run(rows: Tensor) -> tuple[Tensor, ...]:
        with torch.inference_mode():
            found = model(rows)
        return found if isinstance(found, tuple) else (found,)

    return run


@contextmanager
def _quietly(what: str) -> Iterator[None]:
    """Keep what libraries print and warn of to ourselves, and tell what goes wrong in one line."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except UserError:
        raise
    except Exception as error:
        # Tracing runs a stranger's module, and raises whatever that or the exporter does.
        raise UserError(f"{what} cannot follow this model ({reason(error)}); export it by --to safetensors.") from error
    finally:
        logging.disable(level)


def _tidy(proto: Any, about: dict[str, Any]) -> None:
    """Take out of a graph where it was made, and put in what it is."""
    for node in [*proto.graph.node, *(node for function in proto.functions for node in function.node)]:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        del value.metadata_props[:]
        value.doc_string = ""
    del proto.graph.metadata_props[:], proto.metadata_props[:]
    proto.producer_name, proto.producer_version = "jointadapt", about["jointadapt"]
    proto.doc_string = f"{about['input']['name']}: {about['input']['words']}"
    kept = {"classes": about["classes"], "temperature": about["temperature"], "jointadapt": about}
    if about["unknown"]:
        kept["unknown_threshold"] = about["unknown"]["threshold"]
    for key, value in kept.items():
        proto.metadata_props.add(key=key, value=to_json(value, ascii_only=True))
