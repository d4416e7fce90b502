"""Jobs: which runs when (`job_queue`), how it runs within its limits (`job_process`), what it printed (`result_frame`)."""
