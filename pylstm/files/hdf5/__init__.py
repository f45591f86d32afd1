"""HDF5 files as far as Keras writes them, without h5py: `reading` has groups, attributes and datasets as a tree,
`messages` what stands in the headers of objects, `types` the numbers and texts in them; `writing` makes such files."""

from ..._names import lazy

__getattr__, __dir__ = lazy(__name__)
