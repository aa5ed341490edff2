"""What goes to a server and comes back."""

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
