//! `/v1/audit…`.
