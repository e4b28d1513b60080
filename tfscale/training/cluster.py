import json
import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Cluster:
    workers: tuple
    index: int
    source: str = "TF_CONFIG"


def read_cluster(environ=os.environ):
    if "TF_CONFIG" not in environ:
        return None
    c = json.loads(environ["TF_CONFIG"])
    return Cluster(tuple(c["cluster"]["worker"]), c["task"]["index"])


def check_ports(cluster):
    pass
