//! `/v1/backup…`.
