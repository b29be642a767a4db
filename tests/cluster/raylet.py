"""python raylet.py HOST:PORT: a raylet of one core joins that Ray cluster, and stays until it is killed.

`ray start` would take 127.0.0.1 for the address that other machines see.
"""

import sys
import time

from ray._private.node import Node
from ray._private.parameter import RayParams

given = RayParams(
    gcs_address=sys.argv[1],
    node_ip_address="127.0.0.1",
    num_cpus=1,
    num_gpus=0,
    object_store_memory=100 * 2**20,
    min_worker_port=0,
    max_worker_port=0,
    node_manager_port=0,
    include_log_monitor=False,
    dashboard_agent_listen_port=None,
)
Node(given, head=False)
while True:
    time.sleep(3600)
