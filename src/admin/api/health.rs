//! `/v1/test…`.
