"""Maps the error numbers of failed system calls (errno(3)) to this project's codes: the one table.

No import but errno and the codes: the daemon loads this module.
"""

import errno
from collections.abc import Mapping
from typing import Final

from opanel_agent.core.codes import Fault

_FAULTS: Final[Mapping[int, Fault]] = {
    errno.ENOSPC: Fault.DISK_FULL,
    errno.EDQUOT: Fault.DISK_FULL,
    errno.EACCES: Fault.NO_PERMISSION,
    errno.EPERM: Fault.NO_PERMISSION,
    errno.EROFS: Fault.NO_PERMISSION,
}


def fault_of(error: OSError) -> Fault:
    """Returns the code of a failed system call; `io_failed` for every number that the table does not name."""
    return _FAULTS.get(error.errno or 0, Fault.IO_FAILED)


def name_of(error: OSError) -> str:
    """Returns the symbolic name of the error number (`ENOSPC`); `unknown` where there is none."""
    return errno.errorcode.get(error.errno or 0, "unknown")
