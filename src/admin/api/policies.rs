//! `/v1/policy/…`.
