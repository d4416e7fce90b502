"""prove-silence: a month of this agent's life in an empty network, with the kernel as the witness.

Theory of operation. `runner` copies what this server says (`server_copy`) into a temporary folder, once for each life, and
starts the `supervisor` for each in namespaces of its own. That makes the network such that anything that tries to leave
becomes packets on `lo` (`namespace`), answers at every address that the agent may know (`listener`), and lets the installed
daemon live there (`life.simulate`) on a clock that skips its waits, while somebody types every command (`life.typist`). What
the kernel counted, what the listener received and what strace saw (`strace`) is judged in `judge`, which is pure.

Nothing here is imported by a job or by the daemon. Left out: the sandbox of the units (namespaces are refused in it),
and what root could do to the kernel that counts.
"""
