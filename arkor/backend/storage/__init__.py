"""The files that outlast a machine: data sets, checkpoints, artifacts. In a folder or in S3; one interface for both."""
