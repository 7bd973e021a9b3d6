"""Inference executors: how chunks from a policy become one action a tick, also while the policy is still thinking.

One file each. `docs/executors.md` compares them.
"""

from vla.runtime.inference.asynchronous import Asynchronous
from vla.runtime.inference.open_loop import OpenLoop
from vla.runtime.inference.real_time_chunking import RealTimeChunking
from vla.runtime.inference.splice import Splice
from vla.runtime.inference.temporal_ensembling import TemporalEnsembling

__all__ = ["Asynchronous", "OpenLoop", "RealTimeChunking", "Splice", "TemporalEnsembling"]
