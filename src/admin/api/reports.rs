//! `/v1/report…`.
