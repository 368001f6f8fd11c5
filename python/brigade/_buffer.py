"""The type of whatever has bytes."""

import sys
from typing import TYPE_CHECKING

if sys.version_info >= (3, 12):
    from collections.abc import Buffer as Buffer
elif TYPE_CHECKING:
    from typing_extensions import Buffer as Buffer
else:

    class Buffer:
        """Only for checkers of types."""
