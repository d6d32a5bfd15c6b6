//! `/v1/delegation…`.
