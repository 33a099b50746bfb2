"""One function per stage of the job: a configuration in, artifacts in the run folder out."""
