"""The NumPy twin, through the very calls of the fast layers."""

from __future__ import annotations

from typing import Any

import pylstm.reference
from peers import pylstm_peer


class Peer(pylstm_peer.Peer):
    layers: Any = pylstm.reference
