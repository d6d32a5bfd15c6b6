//! `/v1/operator…`.
