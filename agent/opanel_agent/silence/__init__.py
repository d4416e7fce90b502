"""prove-silence: a month of this agent's life in an empty network, with the kernel as the witness.

Theory of operation. `outside` copies what this server says (`twin`) into a temporary folder, once for each scenario, and
starts itself again for each in namespaces of its own: `inside`. There a *warden* makes the network such that anything that
tries to leave becomes packets on `lo` (`chamber`), answers at every address that the agent may know (`listener`), and runs
the *month* as a process of its own: the installed evaluate on an injected clock, and for every request a forked fetch or
courier with the real transport (`month`). What the kernel counted, what the listener received and what strace saw
(`strace`) is judged in `proof`, which is pure.

Nothing here is imported by a job or by the daemon. Left out: the sandbox of the units (namespaces are refused in it),
and what root could do to the kernel that counts.
"""
