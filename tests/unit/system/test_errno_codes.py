"""Every failed system call has one code, whichever module met it."""

import errno

import pytest

from opanel_agent.core.codes import Fault
from opanel_agent.system import errno_codes


@pytest.mark.parametrize(
    ("number", "fault", "name"),
    [
        (errno.ENOSPC, Fault.DISK_FULL, "ENOSPC"),
        (errno.EDQUOT, Fault.DISK_FULL, "EDQUOT"),
        (errno.EACCES, Fault.NO_PERMISSION, "EACCES"),
        (errno.EPERM, Fault.NO_PERMISSION, "EPERM"),
        (errno.EROFS, Fault.NO_PERMISSION, "EROFS"),
        (errno.EIO, Fault.IO_FAILED, "EIO"),
        (None, Fault.IO_FAILED, "unknown"),
        (99_999, Fault.IO_FAILED, "unknown"),
    ],
)
def test_an_error_number_has_a_code_and_a_name(number: int | None, fault: Fault, name: str) -> None:
    error = OSError() if number is None else OSError(number, "")
    assert (errno_codes.fault_of(error), errno_codes.name_of(error)) == (fault, name)
