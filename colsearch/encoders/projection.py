"""The linear map from the embedded model's 384 token dimensions to the dimensions that are stored.

The shipped map is the safetensors file beside this one; `examples/train_projection.py` made it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from colsearch.encoders.fingerprint import hash_arrays
from colsearch.errors import EncoderError
from colsearch.types import F32

SHIPPED = Path(__file__).with_name("minilm_projection.safetensors")


@dataclass(frozen=True, slots=True)
class Projection:
    """A linear map: a token's vector is its state times `matrix`, scaled to unit length.

    Attributes:
        matrix: (in_dim, dim) float32.
    """

    matrix: F32

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or not np.isfinite(self.matrix).all():
            raise EncoderError(f"a projection is a finite (in_dim, dim) matrix, not {self.matrix.shape}")

    @property
    def dim(self) -> int:
        return int(self.matrix.shape[1])

    @property
    def fingerprint(self) -> str:
        return hash_arrays({"projection": self.matrix})

    def truncated(self, dim: int) -> "Projection":
        """The first `dim` columns.

        The columns of the shipped map are ordered by importance, so its first `dim` are a good map to `dim`.

        Raises: EncoderError: if the projection has fewer columns.
        """
        if not 1 <= dim <= self.dim:
            raise EncoderError(f"dim must be between 1 and {self.dim}, the projection's own dim, not {dim}")
        return Projection(np.ascontiguousarray(self.matrix[:, :dim]))

    def save(self, path: Path, *, about: dict[str, str]) -> None:
        """Write a safetensors file in float16.

        Args:
            about: where the map comes from; becomes the file's metadata.
        """
        from safetensors.numpy import save_file

        save_file({"projection": self.matrix.astype(np.float16)}, path, metadata=about)


def load_projection(path: Path = SHIPPED) -> Projection:
    """Read a projection from a safetensors file.

    Raises: EncoderError: if the file lacks the tensor `projection`.
    """
    from safetensors.numpy import load_file

    tensors = load_file(path)
    if "projection" not in tensors:
        raise EncoderError(f"{path} holds {sorted(tensors)}, not a tensor named 'projection'")
    return Projection(np.ascontiguousarray(tensors["projection"], dtype=np.float32))
