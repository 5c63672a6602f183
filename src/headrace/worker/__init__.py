"""The worker: probes its host, polls for jobs, runs them in a sandbox."""
