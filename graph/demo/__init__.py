"""The demo mesh: three namespaces, seven nodes in three regions, and a plausible past."""

from graph.demo.load import load_demo

__all__ = ["load_demo"]
