"""Files of `jax.export` artifacts that are complete, or refused.

JAX trusts what it deserialises: a damaged byte can be a wrong number, or end the process. So a file ends in a digest of
its contents. JAX reads from the front and ignores the digest: `jax.export.deserialize(file.read())` works, too.
"""

import hashlib
from typing import Any

from jax import export

from gru_jax._cells.checks import check_flag
from gru_jax.export._stablehlo import without_locations
from gru_jax.interop._packages import need
from gru_jax.interop._paths import check_path, foreign, read_beginning
from gru_jax.interop._write_file import check_target, write_file

_END = b"gru_jax.export 1"
_DIGEST_SIZE = hashlib.sha256().digest_size


def save_stablehlo(path: Any, exported: export.Exported, *, gradients: bool = False) -> None:
    """Write what `stablehlo` or `stablehlo_step` returned to a file, which appears at once, complete.

    Args:
      path: where to write.
      exported: any `jax.export.Exported`.
      gradients: whether what is read back can be differentiated, once, with respect to its inputs.

    Raises:
      TypeError, ValueError: naming the argument that does not fit.
      OSError: as Python raises it, where the file cannot be written.
      ImportError: without the package flatbuffers, which JAX needs for this.

    Example:
      >>> import gru_jax, jax, os, tempfile
      >>> cell = gru_jax.gru()
      >>> exported = gru_jax.export.stablehlo(cell, gru_jax.init_layers(cell, jax.random.key(0), 8, 16))
      >>> path = os.path.join(tempfile.mkdtemp(), "gru.stablehlo")
      >>> gru_jax.export.save_stablehlo(path, exported)
      >>> gru_jax.export.load_stablehlo(path).platforms
      ('cpu', 'cuda', 'tpu')
    """
    target = check_target(path)
    if not isinstance(exported, export.Exported):
        raise TypeError(
            f"exported: expected a jax.export.Exported, got {type(exported).__name__}; "
            "pass what gru_jax.export.stablehlo returned."
        )
    # JAX's own message about a missing flatbuffers comes late and names no extra.
    need("flatbuffers", what="StableHLO")
    order = int(check_flag("gradients", gradients))
    with without_locations():
        data = bytes(exported.serialize(vjp_order=order))
    write_file(target, data, hashlib.sha256(data).digest(), _END)


def load_stablehlo(path: Any) -> export.Exported:
    """Read what `save_stablehlo` wrote. JAX runs what is in it: read only files that you trust.

    Args:
      path: where the file is.

    Returns:
      The artifact; `exported.call(...)` runs it, and `exported.in_avals` are its inputs.

    Raises:
      TypeError, ValueError: for files that others wrote, and for damaged ones.
      OSError: as Python raises it, for a file that is missing or may not be read.
      ImportError: without the package flatbuffers, which JAX needs for this.
    """
    name = check_path(path)
    other = foreign(read_beginning(name, "a StableHLO"))
    with open(name, "rb") as file:
        whole = file.read()
    data, digest = whole[: -_DIGEST_SIZE - len(_END)], whole[-_DIGEST_SIZE - len(_END) : -len(_END)]
    if not whole.endswith(_END):
        raise ValueError(
            f"path: expected a file of gru_jax.export.save_stablehlo, got {name!r}, which is "
            f"{other or 'cut short, or written by others: bytes of Exported.serialize() are read by '}"
            f"{'' if other else 'jax.export.deserialize'}."
        )
    if hashlib.sha256(data).digest() != digest:
        raise ValueError(f"path: {name!r} is damaged, its digest is not that of its bytes; save it again.")
    # JAX's own message about a missing flatbuffers comes late and names no extra.
    need("flatbuffers", what="StableHLO")
    try:
        return export.deserialize(bytearray(data))
    except Exception as error:
        # The bytes are as they were written, so JAX has changed; what it raises depends on what has.
        raise ValueError(
            f"path: this JAX does not read {name!r} ({type(error).__name__}: {error}); export it again with this JAX, "
            "or read it with the one that wrote it."
        ) from None
